"""Facts about the single orders."""

import pytest
import torch

from mimgen.errors import UserError
from mimgen.sampling import Halton, Random, Raster
from mimgen.sampling.orders import halton_cells
from mimgen.types import SampleRNG


@pytest.mark.parametrize("grid", [(1, 1), (1, 7), (8, 8), (5, 12), (64, 64)])
def test_halton_reaches_every_cell_once(grid):
    cells = halton_cells(grid)
    assert torch.equal(cells.sort().values, torch.arange(grid[0] * grid[1]))


def test_halton_starts_as_published():
    # (1/2, 1/3), (1/4, 2/3), (3/4, 1/9) of an 8 x 8 grid.
    assert halton_cells((8, 8))[:3].tolist() == [4 * 8 + 2, 2 * 8 + 5, 6 * 8 + 0]


def test_ten_thousand_points_miss_cells_of_a_large_grid():
    released = halton_cells((64, 64), points=10_000)
    assert len(released) == 4090
    assert torch.equal(halton_cells((64, 64))[:4090], released)


def test_every_plan_is_a_permutation():
    for order in (Halton(), Halton(roll=True), Random(), Raster()):
        ranks = order.plan((4, 6), SampleRNG([1, 2]))
        assert torch.equal(ranks.sort(1).values, torch.arange(24).expand(2, -1))


def test_roll_shifts_rows_by_different_amounts():
    plain = Halton().plan((6, 6), SampleRNG([1, 2]))
    rolled = Halton(roll=True).plan((6, 6), SampleRNG([1, 2]))
    shift = (rolled - plain) % 36
    assert bool((shift == shift[:, :1]).all())
    assert int(shift[0, 0]) != int(shift[1, 0])


def test_an_empty_grid_is_named():
    with pytest.raises(UserError, match="grid"):
        halton_cells((0, 4))
