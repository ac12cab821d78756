"""Block masks of random size: bounded, in blocks, and none for half of the images."""

import pytest
import torch

from mimgen.errors import UserError
from mimgen.methods.ibot.masking import VariedBlock
from mimgen.types import SampleRNG


def test_counts_follow_the_ratio_from_below():
    masked = VariedBlock((0.4, 0.4), chance=1.0)((8, 8), SampleRNG(range(200))).masked
    counts = masked.sum(1).float()
    assert int(counts.max()) <= 25
    # blocks of at least 4 cells stop short of the last few
    assert float(counts.mean()) > 19


def test_half_are_whole_and_the_others_differ():
    counts = VariedBlock()((8, 8), SampleRNG(range(300))).masked.sum(1)
    assert 0.4 < float((counts == 0).float().mean()) < 0.6
    assert int(counts.max()) <= 32 and len(set(counts.tolist())) > 10
    assert VariedBlock(chance=0.0)((8, 8), SampleRNG(range(20))).masked.sum() == 0


def test_hidden_cells_lie_together():
    masked = VariedBlock((0.3, 0.3), chance=1.0)((10, 10), SampleRNG(range(50))).masked.unflatten(1, (10, 10))
    pairs = (masked[:, 1:] & masked[:, :-1]).sum() + (masked[:, :, 1:] & masked[:, :, :-1]).sum()
    scattered = torch.rand(50, 100).argsort(1).unflatten(1, (10, 10)) < 30
    apart = (scattered[:, 1:] & scattered[:, :-1]).sum() + (scattered[:, :, 1:] & scattered[:, :, :-1]).sum()
    assert int(pairs) > 1.5 * int(apart)


def test_a_row_does_not_depend_on_the_others():
    together, alone = VariedBlock()((6, 9), SampleRNG([1, 2, 3])), VariedBlock()((6, 9), SampleRNG([2]))
    assert torch.equal(together.masked[1], alone.masked[0])


def test_mistakes_are_named():
    with pytest.raises(UserError, match="shares"):
        VariedBlock((0.5, 0.2))
