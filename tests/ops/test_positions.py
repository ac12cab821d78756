"""Positions in the rows of a batch."""

import pytest
import torch

from mimgen.ops.positions import gather_tokens, padded_nonzero

FLAGS = torch.tensor([[True, False, True, True], [False, True, False, False], [False] * 4])


def test_true_places_ascend_and_padding_names_none_twice() -> None:
    positions, valid = padded_nonzero(FLAGS)
    assert valid.tolist() == [[True] * 3, [True, False, False], [False] * 3]
    assert [row[good].tolist() for row, good in zip(positions, valid, strict=True)] == [[0, 2, 3], [1], []]
    assert all(len(set(row)) == 3 and max(row) < 4 for row in positions.tolist())


def test_nothing_true_has_no_place() -> None:
    positions, valid = padded_nonzero(FLAGS[2:])
    assert positions.shape == valid.shape == (1, 0)


@pytest.mark.parametrize("shape", [(3, 4), (3, 4, 5)])
def test_rows_at_places(shape: tuple[int, ...]) -> None:
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    positions = torch.tensor([[3, 0], [1, 1], [2, 3]])
    expected = torch.stack([row[where] for row, where in zip(x, positions, strict=True)])
    assert torch.equal(gather_tokens(x, positions), expected)
