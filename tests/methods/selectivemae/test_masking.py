"""SelectiveMAE's sets: disjoint, of exact size, sampled by the guide, and grown by the rule of the stage."""

import pytest
import torch

from mimgen.errors import UserError
from mimgen.methods.selectivemae.masking import Selective, expanded
from mimgen.types import SampleRNG

GRID = (8, 8)


def tokens(rows=4):
    return torch.randn(rows, 64, 16, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("progress", [0.0, 0.36, 0.5, 0.74, 1.0])
def test_three_disjoint_sets_of_exact_size(progress):
    mask = Selective(0.15, 0.25)(GRID, SampleRNG(range(4)), torch.zeros(4, 64), tokens(), progress)
    assert mask.masked.sum(1).tolist() == [64 - 9] * 4
    assert mask.predict.sum(1).tolist() == [16] * 4
    assert not (mask.predict & ~mask.masked).any(), "a scored patch is masked"
    again = Selective(0.15, 0.25)(GRID, SampleRNG(range(4)), torch.zeros(4, 64), tokens(), progress)
    assert torch.equal(again.masked, mask.masked) and torch.equal(again.predict, mask.predict)


def test_a_row_does_not_hang_on_the_others():
    whole = Selective()(GRID, SampleRNG([3, 4, 5]), torch.zeros(3, 64), tokens(3), 0.36)
    alone = Selective()(GRID, SampleRNG([4]), torch.zeros(1, 64), tokens(3)[1:2], 0.36)
    assert torch.equal(whole.masked[1:2], alone.masked) and torch.equal(whole.predict[1:2], alone.predict)


def test_the_guide_is_followed():
    guide = torch.zeros(200, 64)
    guide[:, :16] = 3.0
    rng = SampleRNG(range(200))
    mask = Selective(0.15, 0.25)(GRID, rng, guide)
    seen = ~mask.masked[:, :16]
    assert float(seen.sum()) / 200 / 9 > 1.5 * 16 / 64, "the half that is sampled by the guide prefers the first 16"
    assert float(mask.predict[:, :16].sum()) / 200 / 16 > 1.5 * 16 / 64
    even = Selective(0.15, 0.25)(GRID, rng)
    assert abs(float((~even.masked[:, :16]).sum()) / 200 / 9 - 0.25) < 0.05


def test_nearest_and_farthest_are_opposite_ends():
    angles = torch.linspace(0, 3, 10)
    known = torch.stack([angles.cos(), angles.sin()], 1)[None]
    kept, rest = torch.tensor([[0]]), torch.arange(1, 10)[None]
    nothing = torch.empty(1, 0, dtype=torch.int64)
    near, left = expanded(known, kept, rest, (3, 0, 0), nothing)
    far, _ = expanded(known, kept, rest, (0, 3, 0), nothing)
    assert sorted(near[0].tolist()) == [0, 1, 2, 3] and sorted(left[0].tolist()) == [4, 5, 6, 7, 8, 9]
    assert sorted(far[0].tolist()) == [0, 7, 8, 9]
    both, left = expanded(known, kept, rest, (1, 1, 2), torch.tensor([[4, 0, 1, 2, 3, 5, 6]]))
    assert both[0, :3].tolist() == [0, 1, 9] and len(set(both[0].tolist()) | set(left[0].tolist())) == 10


def test_rules_of_the_stages():
    rule = Selective(marks=(0.2, 0.4, 0.6, 0.8)).rule
    assert rule(10, 0.0) == rule(10, 0.19) == (10, 0, 0)
    assert rule(10, 0.3) == (5, 5, 0)
    assert rule(10, 0.4) == rule(10, 0.59) == (0, 10, 0)
    assert rule(10, 0.7) == (0, 5, 5)
    assert rule(10, 0.8) == rule(10, 1.0) == (0, 0, 10)


def test_what_does_not_fit_is_named():
    with pytest.raises(UserError, match="together at most 1"):
        Selective(0.6, 0.5)
    with pytest.raises(UserError, match="ascending marks"):
        Selective(marks=(0.5, 0.4, 0.6, 0.7))
    with pytest.raises(UserError, match="too few"):
        Selective(0.15, 0.25)((2, 2), SampleRNG([0]))
