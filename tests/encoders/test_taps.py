"""Tapped tokens are those of the blocks, class token included."""

import pytest
import torch

from mimgen.encoders.taps import check_taps, tap
from mimgen.encoders.vit import mae_vit
from mimgen.errors import UserError
from mimgen.masking.random import Random
from mimgen.types import SampleRNG

SIZES = {"image_size": 16, "patch": 4, "width": 16, "depth": 3, "heads": 2}


def test_they_are_the_levels_and_have_a_class_token():
    encoder, images = mae_vit(**SIZES).eval(), torch.rand(2, 3, 16, 16)
    mask = Random()((4, 4), SampleRNG([0, 1]))
    found = tap(encoder, images, mask, (0, 2))
    whole = encoder(images, mask, layers=(0, 2))
    for tokens, level in zip(found, whole.levels, strict=True):
        assert torch.equal(tokens.patches, level)
        assert tokens.prefix.shape == (2, 1, 16) and tokens.grid == (4, 4)
    last = torch.cat([found[1].prefix, found[1].patches], dim=1)
    assert torch.equal(encoder.norm(last), torch.cat([whole.prefix, whole.patches], dim=1))


def test_blocks_above_the_last_tap_are_not_run():
    encoder = mae_vit(**SIZES)
    (found,) = tap(encoder, torch.rand(1, 3, 16, 16), None, (1,))
    found.patches.sum().backward()
    assert encoder.blocks[1].mlp.fc2.weight.grad is not None
    assert encoder.blocks[2].mlp.fc2.weight.grad is None


@pytest.mark.parametrize("taps", [(), (1, 1), (2, 1), (-1, 2), (0, 3)])
def test_impossible_taps_are_named(taps):
    with pytest.raises(UserError, match="blocks of 0 to 2"):
        check_taps(taps, 3)
