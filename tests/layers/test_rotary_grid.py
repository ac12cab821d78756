"""Rotary positions on a grid: only differences of positions matter, rows and columns by themselves."""

import pytest
import torch

from mimgen.errors import UserError
from mimgen.layers.blocks.vit import VitBlock
from mimgen.layers.rotary_grid import RotaryBlock, grid_positions, grid_rotation, turn


def product(first, second, width=8):
    """Inner product of two fixed vectors at two positions."""
    q, k = torch.rand(2, 1, 1, 1, width, generator=torch.Generator().manual_seed(0))
    positions = torch.tensor([[first], [second]])
    cos, sin = grid_rotation(positions, width)
    return float((turn(q, (cos[:1], sin[:1])) * turn(k, (cos[1:], sin[1:]))).sum())


def test_products_hang_on_the_difference_of_places():
    assert product((3, 1), (1, 4)) == pytest.approx(product((7, 0), (5, 3)), abs=1e-5)
    assert product((3, 1), (1, 4)) != pytest.approx(product((3, 1), (1, 5)), abs=1e-3)
    assert product((3, 1), (1, 4)) != pytest.approx(product((1, 3), (4, 1)), abs=1e-3)


def test_the_angles_are_those_of_the_formula():
    cos, sin = grid_rotation(torch.tensor([[2, 5]]), 8, base=100.0)
    # head of 8: 4 channels per axis, frequencies 1 and 100^(-1/2)
    row, column = [2.0, 0.2], [5.0, 0.5]
    expected = torch.tensor([*row, *row, *column, *column])
    torch.testing.assert_close(cos[0], expected.cos())
    torch.testing.assert_close(sin[0], expected.sin())
    first = turn(torch.eye(8)[:1].view(1, 1, 1, 8), (cos[None], sin[None])).flatten()
    assert first.nonzero().flatten().tolist() == [0, 2], "channel 0 turns into its partner half an axis on"
    torch.testing.assert_close(first[[0, 2]], torch.tensor([2.0, 2.0]).cos() * torch.tensor([1.0, 0.0])
                               + torch.tensor([0.0, 1.0]) * torch.tensor(2.0).sin())  # fmt: skip


def test_places_are_row_major_and_a_block_without_them_is_a_vit_block():
    assert grid_positions((2, 3)).tolist() == [[0, 0], [0, 1], [0, 2], [1, 0], [1, 1], [1, 2]]
    torch.manual_seed(0)
    block, plain = RotaryBlock(8, 2).eval(), VitBlock(8, 2).eval()
    plain.load_state_dict(block.state_dict())
    x = torch.rand(2, 6, 8)
    assert torch.equal(block(x), plain(x))
    rotation = grid_rotation(grid_positions((2, 3))[None], 4)
    assert not torch.allclose(block(x, rotation), plain(x), atol=1e-4)
    with pytest.raises(UserError, match="multiple of 4"):
        grid_rotation(grid_positions((2, 3)), 6)
