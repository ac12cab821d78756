"""Images of every kind become RGB squares."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image

from mimgen.data import Transform
from mimgen.data.sources.decode import CorruptImage, decode_image
from mimgen.errors import UserError
from tests.data.pictures_on_disk import noise_jpeg


def saved(image: Image.Image, kind: str, exif: Image.Exif | None = None) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **({"exif": exif} if exif else {}))
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("image", "kind", "colour"),
    [
        (Image.new("RGBA", (4, 4), (255, 0, 0, 0)), "PNG", (255, 255, 255)),
        (Image.new("RGBA", (4, 4), (255, 0, 0, 128)), "PNG", (255, 127, 127)),
        (Image.new("LA", (4, 4), (0, 0)), "PNG", (255, 255, 255)),
        (Image.new("L", (4, 4), 77), "PNG", (77, 77, 77)),
        (Image.new("1", (4, 4), 1), "PNG", (255, 255, 255)),
        (Image.new("CMYK", (4, 4), (0, 255, 255, 0)), "TIFF", (255, 0, 0)),
        (Image.fromarray(np.full((4, 4), 65535, np.uint16)), "PNG", (255, 255, 255)),
        (Image.fromarray(np.full((4, 4), 128 * 257, np.uint16)), "PNG", (128, 128, 128)),
        (Image.fromarray(np.full((4, 4), 0.5, np.float32)), "TIFF", (128, 128, 128)),
        (Image.new("RGB", (4, 4), (9, 8, 7)).quantize(4), "GIF", (9, 8, 7)),
    ],
)
def test_modes(image: Image.Image, kind: str, colour: tuple[int, int, int]) -> None:
    decoded = decode_image(saved(image, kind))
    assert decoded.mode == "RGB"
    assert np.abs(np.asarray(decoded)[2, 2].astype(int) - colour).max() <= 1


def test_a_palette_with_transparency_lies_on_white() -> None:
    image = Image.new("P", (4, 4), 0)
    image.putpalette([200, 0, 0, 0, 200, 0])
    image.info["transparency"] = 0
    assert decode_image(saved(image, "PNG")).getpixel((1, 1)) == (255, 255, 255)


def test_exif_orientation() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    assert decode_image(saved(Image.new("RGB", (8, 4)), "JPEG", exif)).size == (4, 8)


@pytest.mark.parametrize("content", [b"", b"text", noise_jpeg()[:1500], b"\x89PNG\r\n\x1a\n" + b"x" * 40])
def test_corrupt_bytes(content: bytes) -> None:
    with pytest.raises(CorruptImage):
        decode_image(content)


def test_centre_crop_and_conditions() -> None:
    pixels = np.zeros((10, 30, 3), np.uint8)
    pixels[:, 10:20] = 255
    square = Transform(5)(Image.fromarray(pixels))
    assert square.image.shape == (3, 5, 5) and float(square.image.float().mean()) > 240
    assert square.conditions.tolist() == [30, 10, 5, 0, 6]


def test_small_images_are_enlarged() -> None:
    assert Transform(16)(Image.new("RGB", (3, 2), "white")).image.shape == (3, 16, 16)


def test_random_crop_and_flip_come_from_the_generator_alone() -> None:
    ramp = Image.fromarray(np.tile(np.arange(60, dtype=np.uint8), (10, 1))).convert("RGB")
    transform = Transform(8, random_crop=True, flip=True)
    images = [transform(ramp, torch.Generator().manual_seed(seed)).image for seed in (1, 1, 2, 3, 4, 5)]
    assert torch.equal(images[0], images[1])
    assert len({image.numpy().tobytes() for image in images}) == 5
    rising = [bool(image[0, 0, -1] > image[0, 0, 0]) for image in images]
    assert len(set(rising)) == 2
    assert torch.equal(transform(ramp).image, Transform(8)(ramp).image)


def test_size_zero() -> None:
    with pytest.raises(UserError, match="size 0"):
        Transform(0)
