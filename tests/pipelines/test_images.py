"""Images of Pillow to tensors and back."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from mimgen.errors import UserError
from mimgen.pipelines.images import fitted, to_mask, to_pil, to_tensor


def noise(width: int = 6, height: int = 4) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


def test_there_and_back_is_bit_identical():
    image = noise()
    tensor = to_tensor(image)
    assert tensor.shape == (1, 3, 4, 6) and tensor.dtype == torch.float32
    assert np.array_equal(np.asarray(to_pil(tensor)[0]), np.asarray(image))
    assert len(to_tensor([image, image])) == 2
    assert to_tensor(tensor) is tensor


def test_masks_are_white_or_transparent():
    mask = Image.new("RGBA", (3, 1), (0, 0, 0, 255))
    mask.putpixel((1, 0), (255, 255, 255, 255))
    mask.putpixel((2, 0), (0, 0, 0, 0))
    assert to_mask(mask).tolist() == [[[0.0, 1.0, 1.0]]]
    assert to_mask(mask.convert("L")).tolist() == [[[0.0, 1.0, 0.0]]]


def test_fitting_covers_and_cuts_at_the_centre():
    image = Image.new("RGB", (40, 20), "white")
    image.paste((255, 0, 0), (10, 0, 30, 20))
    small = np.asarray(fitted(image, 10, 10))
    assert small.shape == (10, 10, 3)
    assert int(small[..., 0].min()) > 250 and int(small[..., 1].max()) < 30  # hardly any of the white beside the cut
    assert fitted(image, 20, 40) is image
    mask = Image.new("L", (40, 20))
    mask.paste(255, (0, 0, 20, 20))
    assert set(np.unique(np.asarray(fitted(mask, 10, 10, mask=True)))) == {0, 255}


def test_mistakes():
    with pytest.raises(UserError, match="give an image"):
        to_tensor(["a.png"])
    with pytest.raises(UserError, match="different sizes"):
        to_tensor([noise(), noise(4)])
