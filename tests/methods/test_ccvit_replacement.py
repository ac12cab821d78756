"""Replaced patches: disjoint from the masked ones, exact counts, pasted in the right place."""

import pytest
import torch

from mimgen.errors import UserError
from mimgen.masking.block import Block
from mimgen.methods.ccvit import choose_visible
from mimgen.ops.tiling import paste
from mimgen.tokenizers.centroids import CentroidTokenizer
from mimgen.types import Mask, SampleRNG


def test_chosen_patches_are_visible_and_counted():
    mask = Block(30, 4)((8, 8), SampleRNG(range(20)))
    chosen = choose_visible(mask, 10, SampleRNG(range(100, 120)))
    assert chosen.sum(1).unique().tolist() == [10]
    assert not (chosen & mask.masked).any()
    assert len(torch.unique(chosen, dim=0)) == 20
    assert not choose_visible(mask, 0, SampleRNG(range(20))).any()
    everything = choose_visible(mask, 34, SampleRNG(range(20)))
    assert torch.equal(everything, ~mask.masked)
    with pytest.raises(UserError, match="35 of 34"):
        choose_visible(mask, 35, SampleRNG(range(20)))


def test_pasted_patches_equal_the_centroid_exactly():
    tokenizer = CentroidTokenizer(4, 8)
    images = torch.rand(2, 3, 8, 12, generator=torch.Generator().manual_seed(0))
    codes = tokenizer.encode(images)
    chosen = torch.zeros(2, 6, dtype=torch.bool)
    chosen[0, 4] = chosen[1, 0] = True
    made = paste(images, tokenizer.decode(codes), chosen, 4)
    assert torch.equal(made[0, :, 4:, 4:8].flatten(), tokenizer.centroids[codes.indices[0, 1, 1]])
    assert torch.equal(made[1, :, :4, :4].flatten(), tokenizer.centroids[codes.indices[1, 0, 0]])
    assert int((made != images).any(1).sum()) <= 32
    assert torch.equal(paste(images, images + 1, torch.zeros(2, 6, dtype=torch.bool), 4), images)


def test_a_mask_without_masked_patches_leaves_everything_visible():
    assert choose_visible(Mask(torch.zeros(2, 6, dtype=torch.bool)), 6, SampleRNG([0, 1])).all()
