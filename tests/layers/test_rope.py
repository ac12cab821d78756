"""Rotary positions: relative, norm-preserving, split over the axes."""

import pytest
import torch

from mimgen.layers.rope import axis_widths, grid_ids, rotary_table, rotate


def test_axis_widths_of_the_release() -> None:
    assert axis_widths(128) == (16, 56, 56)
    for head in (16, 32, 64):
        assert sum(axis_widths(head)) == head and all(width % 2 == 0 for width in axis_widths(head))
    with pytest.raises(ValueError, match="divisible by 4"):
        axis_widths(30)


def test_scores_depend_on_relative_positions_only() -> None:
    generator = torch.Generator().manual_seed(0)
    q, k = torch.randn(1, 1, 1, 16, generator=generator), torch.randn(1, 1, 1, 16, generator=generator)

    def score(a: tuple[int, int], b: tuple[int, int]) -> torch.Tensor:
        ids = torch.tensor([[0.0, *a], [0.0, *b]])
        cos, sin = rotary_table(ids, axis_widths(16))
        return (rotate(q, (cos[:1], sin[:1])) * rotate(k, (cos[1:], sin[1:]))).sum()

    torch.testing.assert_close(score((1, 2), (4, 7)), score((3, 0), (6, 5)))
    assert not torch.isclose(score((1, 2), (4, 7)), score((1, 2), (7, 4)))


def test_text_is_not_rotated_and_norms_stay() -> None:
    table = rotary_table(torch.cat([torch.zeros(2, 3), grid_ids(2, 3)]), (2, 2, 4))
    x = torch.randn(1, 8, 1, 8, generator=torch.Generator().manual_seed(0))
    y = rotate(x, table)
    torch.testing.assert_close(y[:, :3], x[:, :3])  # text and the image's first cell sit at zero
    torch.testing.assert_close(y.norm(dim=-1), x.norm(dim=-1))


def test_grid_ids_are_row_major() -> None:
    assert grid_ids(2, 3).tolist() == [[0, r, c] for r in range(2) for c in range(3)]
