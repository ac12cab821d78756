"""From the bytes of an image file to an RGB image."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["IMAGE_SUFFIXES", "CorruptImage", "decode_image", "sixteen_to_eight"]

IMAGE_SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".avif"}
)


class CorruptImage(ValueError):
    """The bytes are not a complete image; data sets skip it and report it."""


def decode_image(content: bytes) -> Image:
    """Decode to mode RGB: turned by its EXIF orientation, transparency on white, 16 bits reduced to 8.

    Raises:
        CorruptImage: the bytes do not decode.
    """
    from PIL import Image, ImageOps

    try:
        with Image.open(io.BytesIO(content)) as image:
            image.load()
            return to_rgb(ImageOps.exif_transpose(image))
    # Decoders raise OSError, SyntaxError, struct.error and more on foreign bytes; to a data set
    # every one of them means the same.
    except Exception as error:
        raise CorruptImage(f"{type(error).__name__}: {error}") from error


def to_rgb(image: Image) -> Image:
    """Any mode of Pillow to RGB."""
    from PIL import Image

    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        image = sixteen_to_eight(image)
    if image.has_transparency_data:
        opened_image = image.convert("RGBA")
        white = Image.new("RGBA", opened_image.size, "white")
        return Image.alpha_composite(white, opened_image).convert("RGB")
    return image.convert("RGB")


def sixteen_to_eight(image: Image) -> Image:
    """Grey images of 16 or 32 bits to mode L.

    Integers count as 16 bits, because Pillow reads 16-bit PNG files into 32-bit ones; floating
    numbers up to 1 count as fractions, larger ones as bytes.
    """
    import numpy as np
    from PIL import Image

    values = np.asarray(image)
    full_scale = 65535.0 if values.dtype.kind != "f" else 1.0 if values.max() <= 1 else 255.0
    scaled = values / full_scale * 255
    return Image.fromarray(scaled.round().clip(0, 255).astype(np.uint8))
