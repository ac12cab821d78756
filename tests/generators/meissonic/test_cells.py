"""Cells of a trunk's grid and the tokens in them."""

import pytest
import torch

from mimgen.generators.meissonic.cells import CellGrid, Cells, marked


@pytest.mark.parametrize(("grid", "side"), [((3, 4), 1), ((4, 6), 2), ((5, 7), 2)])
def test_every_token_lies_in_a_corner_of_its_cell(grid: tuple[int, int], side: int) -> None:
    cells = CellGrid(*grid, side)
    positions = torch.arange(grid[0] * grid[1])
    where, inside = cells.tokens(torch.arange(cells.count))
    own, corner = cells.cells(positions), cells.corners(positions)
    assert torch.equal(where[own, corner], positions) and bool(inside[own, corner].all())
    assert int(inside.sum()) == len(positions)  # the rest lies beyond an odd side


def test_a_cell_with_any_token_of_a_kind() -> None:
    flags = torch.zeros(2, 15, dtype=torch.bool)
    flags[0, 4], flags[1, 6] = True, True
    assert CellGrid(3, 5, 2).any(flags).nonzero().tolist() == [[0, 2], [1, 0]]
    assert CellGrid(3, 5, 1).any(flags) is flags


def test_rows_of_different_counts_are_padded() -> None:
    chosen = torch.tensor([[True, False, True, True], [False, True, False, False]])
    cells = Cells.where(chosen)
    assert cells.valid.tolist() == [[True] * 3, [True, False, False]]
    assert cells.index[0].tolist() == [0, 2, 3] and int(cells.index[1, 0]) == 1
    assert len(set(cells.index[1].tolist())) == 3  # padding names no cell twice


def test_places_of_asked_cells() -> None:
    requested = torch.tensor([[5, 2, 5], [0, 3, 1]])
    cells = Cells.holding(requested, 6)
    assert torch.equal(cells.index.gather(1, cells.positions(requested, 6)), requested)
    assert torch.equal(marked(requested, 6).sum(1), torch.tensor([2, 3]))
