"""Oriented gradients as targets: of cells (LocalMIM), and whitened (DMJD)."""

import pytest
import torch

from mimgen.errors import UserError
from mimgen.methods.dmjd.target import WhitenedHog
from mimgen.methods.localmim.target import SobelTarget
from mimgen.targets import Target


def make_images():
    return torch.randint(0, 256, (2, 3, 16, 16), generator=torch.Generator().manual_seed(0)) / 255


@pytest.mark.parametrize("target", [SobelTarget(4), SobelTarget(8, bins=18), WhitenedHog(8), WhitenedHog(8, cell=2)])
def test_shapes_and_flat_images(target):
    assert isinstance(target, Target)
    found = target(make_images())
    assert found.shape == (2, (16 // target.patch) ** 2, target.dim)
    assert target(torch.full((1, 3, 16, 16), 0.3)).abs().max() == 0
    assert target.loss(found, found).shape == found.shape[:-1]
    assert target.loss(found, found).abs().max() == 0


def test_sobel_thirds_have_unit_length_and_cells_are_row_major():
    target, images = SobelTarget(4), make_images()
    found = target(images)
    torch.testing.assert_close(found.unflatten(2, (3, 9)).norm(dim=-1), torch.ones(2, 16, 3))
    other = images.clone()
    other[:, :, 9:11, 5:7] = 0  # inside the cell of row 2, column 1
    changed = (target(other) != found).any(-1)
    assert changed[0].nonzero().flatten().tolist() == [9]
    one = images.clone()
    one[:, 1] = 0.5
    assert (target(one) != found).unflatten(2, (3, 9)).any(-1)[..., [0, 2]].sum() == 0


def test_the_offset_is_drawn_once_and_saved():
    torch.manual_seed(0)
    target = SobelTarget(4, offset=True)
    assert target.offset.abs().max() <= 1 / 3
    assert "offset" in target.state_dict() and "offset" not in SobelTarget(4).state_dict()
    found = target(make_images())
    assert not torch.equal(found, SobelTarget(4)(make_images()))
    # the weaker the gradients, the more the offset says
    torch.manual_seed(0)
    scaled = SobelTarget(4, offset=True, std=(0.5, 0.5, 0.5))
    torch.testing.assert_close(scaled(make_images() / 2), found)
    assert not torch.allclose(scaled(make_images()), found)


def test_whitened_cells_and_their_order():
    target, images = WhitenedHog(8), make_images()
    found, cells = target(images), target.histograms(images)
    parts = found.unflatten(2, (2, 2, 9, 3))
    assert parts.mean(4).abs().max() < 1e-5
    torch.testing.assert_close(parts.var(4, unbiased=False), torch.ones(2, 4, 2, 2, 3), atol=1e-3, rtol=0)
    # patch 1 is the upper right one; its lower left cell is in row 1, column 2
    expected = torch.nn.functional.layer_norm(cells[0, 2, :, 1, 2], (9,))
    torch.testing.assert_close(parts[0, 1, 1, 0, :, 2], expected)


def test_cells_must_divide_the_patch():
    with pytest.raises(UserError, match="do not divide patches of 8"):
        WhitenedHog(8, cell=3)
