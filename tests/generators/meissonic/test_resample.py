"""Halving and doubling a grid: cells computed alone equal those of the whole."""

import pytest
import torch

from mimgen.generators.meissonic.cells import CellGrid
from mimgen.generators.meissonic.resample import Resample


@pytest.mark.parametrize("grid", [(4, 6), (5, 7)])
def test_cells_alone_downwards(grid: tuple[int, int]) -> None:
    torch.manual_seed(0)
    layer, x = Resample(8, up=False), torch.randn(2, 8, *grid)
    torch.nn.init.uniform_(layer.get_submodule("downsample.norm").weight)
    cells = torch.tensor([[0, 3, 5], [2, 1, CellGrid(*grid, 2).count - 1]])
    where, inside = CellGrid(*grid, 2).tokens(cells)
    corners = x.flatten(2).transpose(1, 2)[torch.arange(2)[:, None, None], where]
    whole = layer(x).flatten(2).transpose(1, 2)
    torch.testing.assert_close(layer.down(corners, inside), whole[torch.arange(2)[:, None], cells])


def test_cells_alone_upwards() -> None:
    torch.manual_seed(0)
    layer, x = Resample(8, up=True), torch.randn(2, 8, 2, 3)
    whole = layer(x).unfold(2, 2, 2).unfold(3, 2, 2).permute(0, 2, 3, 4, 5, 1).reshape(2, 6, 4, 8)
    torch.testing.assert_close(layer.up(x.flatten(2).transpose(1, 2)), whole)
