"""Images side by side."""

import torch

from mimgen.ops.tiling import tile


def test_tile_is_row_by_row() -> None:
    images = torch.arange(3.0).view(3, 1, 1, 1).expand(3, 3, 2, 2) / 4
    grid = tile(images)
    assert grid.shape == (3, 4, 4)
    assert grid[0, ::2, ::2].tolist() == [[0.0, 0.25], [0.5, 1.0]]


def test_tile_takes_a_number_of_columns() -> None:
    assert tile(torch.zeros(5, 3, 2, 4), columns=3).shape == (3, 4, 12)
    assert tile(torch.zeros(5, 3, 2, 4), columns=3)[:, 2:, 8:].eq(1).all()
