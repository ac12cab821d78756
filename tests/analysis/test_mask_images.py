"""Images of masks: closed forms."""

import pytest
import torch

from mimgen.analysis.mask_images import (
    IGNORED,
    SCORED,
    centredness,
    edge_energy,
    guide_image,
    masked_images,
    reconstructed,
)
from mimgen.errors import UserError
from mimgen.targets import PixelTarget
from mimgen.types import Mask

HIDDEN = Mask(torch.tensor([[True, True, False, False]]), torch.tensor([[True, False, False, False]]))


def test_masked_patches_are_grey_and_unscored_ones_dark():
    images = torch.rand(1, 3, 4, 4)
    shown = masked_images(images, HIDDEN, 2)
    assert bool((shown[..., :2, :2] == SCORED).all()) and bool((shown[..., :2, 2:] == IGNORED).all())
    assert torch.equal(shown[..., 2:, :], images[..., 2:, :])


def test_visible_patches_are_pasted_and_nothing_is_reported_of_unscored_ones():
    images, reported = torch.rand(1, 3, 4, 4), torch.rand(1, 3, 4, 4)
    sampled = reconstructed(images, reported, HIDDEN, 2)
    assert torch.equal(sampled[..., :2, :2], reported[..., :2, :2]) and bool((sampled[..., :2, 2:] == IGNORED).all())
    assert torch.equal(sampled[..., 2:, :], images[..., 2:, :])


@pytest.mark.parametrize("normalise", [True, False])
@pytest.mark.parametrize("last", [True, False])
def test_a_perfect_prediction_gives_the_image(normalise, last):
    images = torch.rand(2, 3, 8, 12)
    target = PixelTarget(4, normalise=normalise, mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4), last=last)
    assert (target.unnormalised(target(images), images) - images).abs().max() < 1e-5
    assert target.normalise is normalise


def test_predicting_nothing_gives_the_mean_of_each_normalised_patch():
    images, target = torch.rand(1, 3, 4, 4), PixelTarget(2)
    reported = target.unnormalised(torch.zeros(1, 4, 12), images)
    torch.testing.assert_close(reported[0, :, :2, 2:], images[0, :, :2, 2:].mean().expand(3, 2, 2))


def test_edges_are_where_the_image_changes():
    images = torch.zeros(1, 3, 8, 8)
    images[..., 1:3, 1:3] = 1
    energy = edge_energy(images, 4)
    assert energy.shape == (1, 4) and energy[0, 0] > 0 and energy[0, 1:].tolist() == [0, 0, 0]


def test_the_centre_is_highest_and_corners_are_0():
    plane = centredness((3, 5)).unflatten(0, (3, 5))
    assert plane[1, 2] == 1 and plane[0, 0] == plane[2, 4] == 0
    torch.testing.assert_close(plane, plane.flip(0).flip(1))
    assert centredness((1, 1)).tolist() == [1]


def test_a_guide_spans_black_to_white():
    image = guide_image(torch.tensor([2.0, 3.0, 4.0, 2.0]), (2, 2), 3)
    assert image.shape == (3, 6, 6) and image[0, 0, 0] == 0 and image[0, 5, 0] == 1 and image[1, 0, 5] == 0.5
    assert float(guide_image(torch.ones(4), (2, 2), 1).max()) == 0


def test_a_mask_of_another_grid_is_refused():
    with pytest.raises(UserError, match="2 x 2 patches of 4"):
        masked_images(torch.rand(1, 3, 8, 8), Mask(torch.zeros(1, 16, dtype=torch.bool)), 4)
