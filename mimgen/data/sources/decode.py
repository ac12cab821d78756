"""From the bytes of a picture file to an RGB picture."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["PICTURE_SUFFIXES", "CorruptPicture", "decode_picture", "sixteen_to_eight"]

PICTURE_SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".avif"}
)


class CorruptPicture(ValueError):
    """The bytes are not a whole picture; data sets skip it and say so."""


def decode_picture(content: bytes) -> Image:
    """Decode to mode RGB: turned as EXIF says, transparency on white, 16 bits reduced to 8.

    Raises:
        CorruptPicture: the bytes do not decode.
    """
    from PIL import Image, ImageOps

    try:
        with Image.open(io.BytesIO(content)) as picture:
            picture.load()
            return to_rgb(ImageOps.exif_transpose(picture))
    # Decoders raise OSError, SyntaxError, struct.error and more on foreign bytes; to a data set
    # every one of them means the same.
    except Exception as error:
        raise CorruptPicture(f"{type(error).__name__}: {error}") from error


def to_rgb(picture: Image) -> Image:
    """Any mode of Pillow to RGB."""
    from PIL import Image

    if picture.mode.startswith("I;16") or picture.mode in ("I", "F"):
        picture = sixteen_to_eight(picture)
    if picture.has_transparency_data:
        seen = picture.convert("RGBA")
        white = Image.new("RGBA", seen.size, "white")
        return Image.alpha_composite(white, seen).convert("RGB")
    return picture.convert("RGB")


def sixteen_to_eight(picture: Image) -> Image:
    """Grey pictures of 16 or 32 bits to mode L.

    Integers count as 16 bits, because Pillow reads 16-bit PNG files into 32-bit ones; floating
    numbers up to 1 count as fractions, larger ones as bytes.
    """
    import numpy as np
    from PIL import Image

    values = np.asarray(picture)
    whole = 65535.0 if values.dtype.kind != "f" else 1.0 if values.max() <= 1 else 255.0
    scaled = values / whole * 255
    return Image.fromarray(scaled.round().clip(0, 255).astype(np.uint8))
