"""Uniform masks: exact counts, square units, every patch equally often, a row's own stream."""

import pytest
import torch

from mimgen.errors import UserError
from mimgen.masking.random import Random, in_units, largest
from mimgen.types import SampleRNG


def rng(count, seed=0):
    return SampleRNG.for_rows(seed, 0, range(count))


@pytest.mark.parametrize(
    ("ratio", "grid", "masked"), [(0.75, (14, 14), 147), (0.9, (10, 10), 90), (0.6, (3, 4), 8), (0.1, (2, 2), 1)]
)
def test_the_count_is_exact_in_every_row(ratio, grid, masked):
    mask = Random(ratio)(grid, rng(5))
    assert mask.masked.shape == (5, grid[0] * grid[1])
    assert mask.masked.sum(1).tolist() == [masked] * 5


def test_units_are_hidden_whole():
    mask = Random(0.6, unit=2)((4, 6), rng(20))
    units = mask.masked.unflatten(1, (2, 2, 3, 2)).float().mean((2, 4))
    assert set(units.unique().tolist()) == {0.0, 1.0}
    assert units.sum((1, 2)).tolist() == [4.0] * 20  # ceil(0.6 * 6)


def test_in_units_is_row_major():
    found = in_units(torch.tensor([[True, False, False, True]]), (2, 2), 2).unflatten(1, (4, 4))
    assert found[0].int().tolist() == [[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 1], [0, 0, 1, 1]]


def test_every_patch_is_hidden_equally_often():
    share = Random(0.75)((4, 4), rng(2000)).masked.float().mean(0)
    assert (share - 0.75).abs().max() < 0.05


def test_a_row_depends_on_its_own_stream_only():
    whole, alone = Random()((4, 4), rng(3)), Random()((4, 4), SampleRNG(rng(3).seeds[2:]))
    assert torch.equal(whole.masked[2:], alone.masked)


def test_ties_go_to_the_later_ones():
    assert largest(torch.tensor([[0.5, 0.5, 0.1, 0.5]]), 2).tolist() == [[False, True, False, True]]


def test_what_is_impossible_is_named():
    with pytest.raises(UserError, match="above 0 and below 1"):
        Random(1.0)
    with pytest.raises(UserError, match="at least 1 patch"):
        Random(0.5, 0)
    with pytest.raises(UserError, match="does not divide into units of 2"):
        Random(0.5, 2)((3, 4), rng(1))
    with pytest.raises(UserError, match="masks all 1 units"):
        Random(0.5, 2)((2, 2), rng(1))
