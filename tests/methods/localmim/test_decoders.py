"""LocalMIM's decoders: a map of cells for each scale, and masks brought to the cells."""

import pytest
import torch

from mimgen.errors import UserError
from mimgen.masking.random import Random
from mimgen.methods.localmim.decoders import LocalDecoder, at_scale
from mimgen.types import Mask, SampleRNG, Tokens

GRID = (4, 4)


def decoder(scale, **options):
    torch.manual_seed(0)
    return LocalDecoder(16, 4, 12, 8, 1, 2, 6, scale, **options).eval()


def tokens(count, grid=GRID):
    return Tokens(torch.randn(2, count, 12), grid, torch.randn(2, 1, 12))


@pytest.mark.parametrize(("scale", "cells"), [(4, 256), (2, 64), (1, 16), (0.5, 4)])
def test_shapes_of_all_scales(scale, cells):
    mask = Random()(GRID, SampleRNG([0, 1]))
    assert decoder(scale)(tokens(4), mask).shape == (2, cells, 6)
    assert at_scale(mask.masked, GRID, scale).shape == (2, cells)


@pytest.mark.parametrize("scale", [4, 2, 1, 0.5])
def test_the_mass_of_a_mask_is_its_area_at_every_scale(scale):
    masked = Random(0.6)((4, 6), SampleRNG(range(5))).masked
    found = at_scale(masked, (4, 6), scale)
    torch.testing.assert_close(found.sum(1), masked.float().sum(1) * scale**2)


def test_coarse_cells_weigh_by_their_hidden_share_and_fine_ones_lie_under_their_patch():
    masked = torch.zeros(1, 16, dtype=torch.bool)
    masked[0, [1, 2, 3, 7, 6]] = True  # one patch of the first quarter, four of the second
    assert at_scale(masked, GRID, 0.5).tolist() == [[0.25, 1.0, 0.0, 0.0]]
    fine = at_scale(masked, GRID, 2).unflatten(1, (8, 8))
    assert fine[0, :2].tolist() == [[0, 0, 1, 1, 1, 1, 1, 1]] * 2


def test_a_cell_belongs_to_its_patch():
    """Shuffling maps wrongly would move what a patch says to another place."""
    for scale in (4, 2, 1, 0.5):
        module, output = decoder(scale), tokens(16)
        mask = Mask(torch.zeros(2, 16, dtype=torch.bool))
        for block in module.blocks:  # without attention each token speaks for itself
            block.attn = torch.nn.Identity()
        output.patches.requires_grad_()
        rows = module(output, mask)[0].unflatten(0, (round(4 * scale), -1))
        rows[0, -1].sum().backward()
        touched = output.patches.grad[0].abs().sum(-1).unflatten(0, GRID) > 0
        side = max(1, round(1 / scale))
        assert touched[:side, -side:].all() and touched.sum() == side * side


def test_the_tap_has_its_own_norm():
    module, output, mask = decoder(1), tokens(4), Random()(GRID, SampleRNG([0, 1]))
    louder = Tokens(output.patches * 7 + 3, GRID, output.prefix * 7 + 3)
    torch.testing.assert_close(module(output, mask), module(louder, mask), atol=1e-4, rtol=1e-4)


def test_what_does_not_fit_is_named():
    with pytest.raises(UserError, match=r"choose one of 4, 2, 1, 0\.5"):
        decoder(3)
    odd = LocalDecoder(12, 4, 12, 8, 1, 2, 6, 0.5)
    mask = Random(0.5)((3, 3), SampleRNG([0, 1]))
    with pytest.raises(UserError, match="choose even sides"):
        odd(tokens(4, (3, 3)), mask)
