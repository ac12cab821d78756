"""Standardised features of a teacher, and the release's mistake about its images."""

import torch
import torch.nn.functional as F

from mimgen.encoders.plain import PixelEncoder
from mimgen.methods.itpn.target import StandardisedFeatures


def make_images():
    return torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def test_every_patch_has_mean_0_and_deviation_1():
    target = StandardisedFeatures(PixelEncoder(16, 4))
    goal = target(make_images())
    assert goal.shape == (2, 16, 48) and target.dim == 48
    torch.testing.assert_close(goal.mean(-1), torch.zeros(2, 16), atol=1e-5, rtol=0)
    torch.testing.assert_close(goal.var(-1, unbiased=False), torch.ones(2, 16), atol=1e-3, rtol=0)


def test_the_distance_is_smooth():
    target = StandardisedFeatures(PixelEncoder(16, 4))
    difference = torch.tensor([[0.5, 0.0], [3.0, 1.0]])
    # 0.5 * 0.5^2 / 2 = 0.0625; (3 - 0.5 + 0.5) / 2 = 1.5
    torch.testing.assert_close(target.loss(difference, torch.zeros(2, 2)), torch.tensor([0.0625, 1.5]))


def test_half_range_squeezes_images():
    target = StandardisedFeatures(PixelEncoder(16, 4), half_range=True)
    torch.testing.assert_close(target.rescaled(make_images()), 0.5 + make_images() / 2)
    plain = StandardisedFeatures(PixelEncoder(16, 4))
    assert torch.equal(plain.rescaled(make_images()), make_images())
    torch.testing.assert_close(
        target(make_images()), F.layer_norm(plain(0.5 + make_images() / 2), (48,)), atol=1e-3, rtol=0
    )
