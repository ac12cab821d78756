"""Pixel targets: normalisation, order, distance, and back to images."""

import pytest
import torch

from mimgen.errors import UserError
from mimgen.targets import PixelTarget

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)


def make_images():
    return torch.rand(2, 3, 8, 12, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("last", [False, True])
def test_patches_in_both_orders_and_back(last):
    target = PixelTarget(4, normalise=False, mean=MEAN, std=STD, last=last)
    found = target(make_images())
    assert found.shape == (2, 6, 48)
    cell = (make_images()[1, :, 4:8, 8:12] - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]
    expected = cell.permute(1, 2, 0).flatten() if last else cell.flatten()
    torch.testing.assert_close(found[1, 5], expected)
    torch.testing.assert_close(target.images(found, (2, 3)), make_images())


def test_each_patch_is_normalised_after_its_channels():
    found = PixelTarget(4, mean=MEAN, std=STD)(make_images())
    raw = PixelTarget(4, normalise=False, mean=MEAN, std=STD)(make_images())
    expected = (raw - raw.mean(-1, keepdim=True)) / (raw.var(-1, keepdim=True) + 1e-6).sqrt()
    torch.testing.assert_close(found, expected)
    # channels of different scale: not the same as normalising the patch alone
    assert not torch.allclose(found, PixelTarget(4)(make_images()), atol=1e-2)


def test_distances():
    a, b = torch.tensor([[1.0, 3.0]]), torch.tensor([[0.0, 0.0]])
    assert PixelTarget(4).loss(a, b).tolist() == [5.0]
    assert PixelTarget(4, distance="absolute").loss(a, b).tolist() == [2.0]
    with pytest.raises(UserError, match="absolute"):
        PixelTarget(4, distance="huber")
