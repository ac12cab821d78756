"""Masks from attention: counts, sides, hints, and whole images."""

import pytest
import torch

from mimgen.errors import UserError
from mimgen.methods.attmask import AttentionMasking, class_attention
from mimgen.types import SampleRNG

GRID = (6, 6)
N = 36


def guide(rows=16):
    return torch.rand(rows, N, generator=torch.Generator().manual_seed(1))


def mask(mode, rows=16, seeds=None, **options):
    masking = AttentionMasking(mode, chance=options.pop("chance", 1.0), **options)
    return masking(GRID, SampleRNG(seeds or range(rows)), guide(rows)).masked


def test_high_and_low_hide_the_two_ends():
    high, low = mask("high", ratio=(0.3, 0.3)), mask("low", ratio=(0.3, 0.3))
    assert (high.sum(1) == 10).all() and (low.sum(1) == 10).all()
    assert not (high & low).any()
    scores = guide()
    assert (scores.masked_fill(~high, 2).amin(1) > scores.masked_fill(high, -1).amax(1)).all()
    assert (scores.masked_fill(~low, -1).amax(1) < scores.masked_fill(low, 2).amin(1)).all()


def test_high_and_low_of_one_half_share_nothing():
    assert torch.equal(mask("high", ratio=(0.5, 0.5)), ~mask("low", ratio=(0.5, 0.5)))


def test_hints_are_shown_of_the_most_attended():
    options = {"ratio": (0.4, 0.4), "pool": 0.25}
    high, hints = mask("high", **options), mask("hints", **options)
    shown = high & ~hints
    assert not (hints & ~high).any()
    # floor(0.25 * 0.4 * 36) of the 9 most attended
    assert (shown.sum(1) == 3).all()
    ranks = guide().argsort(dim=1, descending=True).argsort(dim=1)
    assert (ranks[shown] < 9).all()
    assert len({tuple(ranks[row][shown[row]].tolist()) for row in range(16)}) > 1


def test_hints_that_were_not_hidden_change_nothing():
    hints = mask("hints", ratio=(0.1, 0.1), pool=1.0)
    # 3 masked, and 3 of all 36 shown: rarely the same
    assert (hints.sum(1) <= 3).all() and int(hints.sum()) > 16 * 2


def test_half_of_the_images_stay_whole():
    masked = mask("high", 400, chance=0.5)
    whole = (masked.sum(1) == 0).float().mean()
    assert 0.4 < float(whole) < 0.6


def test_the_ratio_is_drawn_once_for_a_batch_or_for_each_image():
    counts = mask("high").sum(1)
    assert len(set(counts.tolist())) == 1
    assert 3 <= int(counts[0]) <= 18
    own = mask("high", shared=False).sum(1)
    assert len(set(own.tolist())) > 3
    assert own[3] == mask("high", rows=1, seeds=[3], shared=False).sum()


def test_ties_do_not_change_the_count():
    masked = AttentionMasking("high", (0.3, 0.3), chance=1.0)(GRID, SampleRNG([0, 1]), torch.zeros(2, N)).masked
    assert masked.sum(1).tolist() == [10, 10]


def test_class_attention_is_the_class_row_averaged_over_heads():
    maps = torch.rand(2, 3, 5, 5, requires_grad=True)
    scores = class_attention(maps)
    torch.testing.assert_close(scores, (maps[:, 0, 0, 1:] + maps[:, 1, 0, 1:] + maps[:, 2, 0, 1:]).detach() / 3)
    assert not scores.requires_grad


def test_mistakes_are_named():
    with pytest.raises(UserError, match="high, low, hints"):
        AttentionMasking("most")
    with pytest.raises(UserError, match="shares"):
        AttentionMasking("high", (0.5, 0.1))
    with pytest.raises(UserError, match="same grid"):
        AttentionMasking()(GRID, SampleRNG([0]), torch.zeros(1, 9))
