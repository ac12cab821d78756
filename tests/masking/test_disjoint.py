"""Two views: never the same visible unit, equal counts, coverage, each row by its own stream."""

import pytest
import torch

from mimgen.errors import UserError
from mimgen.masking.disjoint import Disjoint, second_view
from mimgen.types import SampleRNG


def rng(count, seed=0):
    return SampleRNG.for_rows(seed, 0, range(count))


@pytest.mark.parametrize(("ratio", "unit", "grid"), [(0.6, 2, (14, 14)), (0.75, 1, (14, 14)), (0.5, 1, (4, 6))])
def test_no_unit_is_visible_in_both_views(ratio, unit, grid):
    first, second = Disjoint(ratio, unit=unit)(grid, rng(20))
    assert not (~first.masked & ~second.masked).any()
    assert (first.masked | second.masked).all()


@pytest.mark.parametrize("ratio", [0.3, 0.5, 0.6, 0.9])
def test_both_views_hide_as_many(ratio):
    first, second = Disjoint(ratio, unit=1)((10, 10), rng(5))
    assert first.masked.sum(1).tolist() == second.masked.sum(1).tolist() == [round(100 * ratio)] * 5


def test_coverage_is_what_was_asked_for_and_more_than_by_chance():
    for predicted in (0.7, 0.8, 1.0):
        first, second = Disjoint(0.6, predicted, 1)((10, 10), rng(3))
        assert (first.masked | second.masked).sum(1).tolist() == [round(100 * predicted)] * 3
    first, second = Disjoint(0.6, unit=1, independent=True)((10, 10), rng(200))
    assert (first.masked | second.masked).float().mean().item() == pytest.approx(0.84, abs=0.01)
    first, second = Disjoint(0.3, unit=1)((10, 10), rng(3))
    assert (first.masked | second.masked).sum(1).tolist() == [60] * 3


def test_without_a_quota_the_second_view_is_the_first():
    first, second = Disjoint(0.6, 0.6, 1)((10, 10), rng(3))
    assert torch.equal(first.masked, second.masked)


def test_the_second_view_is_random_within_its_groups():
    mask = Disjoint(0.6, 0.8, 1)
    second = torch.stack([mask((4, 5), rng(1, seed))[1].masked[0] for seed in range(300)])
    assert (second.float().mean(0) - 0.6).abs().max() < 0.12
    first = torch.zeros(1, 10, dtype=torch.bool)
    first[:, :6] = True
    noise = torch.tensor([[0.1, 0.2, 0.9, 0.8, 0.3, 0.0, 0.5, 0.4, 0.6, 0.1]])
    assert second_view(first, noise, 2).int().tolist() == [[0, 1, 1, 1, 1, 0, 1, 0, 1, 0]]


def test_units_are_whole_and_rows_have_their_own_stream():
    first, second = Disjoint(0.6, unit=2)((8, 8), rng(4))
    for mask in (first, second):
        shares = mask.masked.unflatten(1, (4, 2, 4, 2)).float().mean((2, 4))
        assert set(shares.unique().tolist()) == {0.0, 1.0}
    alone = Disjoint(0.6, unit=2)((8, 8), SampleRNG(rng(4).seeds[3:]))
    assert torch.equal(alone[1].masked, second.masked[3:])


def test_what_is_impossible_is_named():
    with pytest.raises(UserError, match="above 0 and below 1"):
        Disjoint(0.0)
    with pytest.raises(UserError, match=r"between the mask ratio 0\.6 and 1"):
        Disjoint(0.6, 0.5)
    with pytest.raises(UserError, match="at least 1 patch"):
        Disjoint(unit=0)
    with pytest.raises(UserError, match="does not divide into units of 2"):
        Disjoint()((7, 8), rng(1))
    with pytest.raises(UserError, match="masks all 1 units"):
        Disjoint()((2, 2), rng(1))
