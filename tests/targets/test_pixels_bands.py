"""Pixels of images with any number of channels."""

import pytest
import torch

from mimgen.errors import UserError
from mimgen.targets import PixelTarget


@pytest.mark.parametrize("channels", [1, 3, 14])
@pytest.mark.parametrize("last", [True, False])
def test_any_number_of_channels(channels, last):
    images = torch.rand(2, channels, 8, 4)
    mean, std = tuple(0.1 * c for c in range(channels)), tuple(1.0 + c for c in range(channels))
    target = PixelTarget(2, normalise=False, mean=mean, std=std, last=last)
    patches = target(images)
    assert patches.shape == (2, 8, 4 * channels) and target.dim == 4 * channels
    torch.testing.assert_close(target.images(patches, (4, 2)), images)
    first = (images[:, :, :2, :2] - target.mean) / target.std
    expected = first.permute(0, 2, 3, 1) if last else first
    torch.testing.assert_close(patches[:, 0], expected.flatten(1))


def test_other_images_are_refused():
    with pytest.raises(UserError, match=r"images \[B, 14, H, W\]"):
        PixelTarget(2, mean=(0.0,) * 14, std=(1.0,) * 14)(torch.rand(1, 3, 4, 4))
    with pytest.raises(UserError, match="one number per channel each"):
        PixelTarget(2, mean=(0.0,) * 14)
    with pytest.raises(UserError, match="multiples of 2"):
        PixelTarget(2)(torch.rand(1, 3, 5, 4))
