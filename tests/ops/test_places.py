"""Places in the rows of a batch."""

import pytest
import torch

from mimgen.ops.places import rows_at, true_places

FLAGS = torch.tensor([[True, False, True, True], [False, True, False, False], [False] * 4])


def test_true_places_ascend_and_padding_names_none_twice() -> None:
    places, valid = true_places(FLAGS)
    assert valid.tolist() == [[True] * 3, [True, False, False], [False] * 3]
    assert [row[good].tolist() for row, good in zip(places, valid, strict=True)] == [[0, 2, 3], [1], []]
    assert all(len(set(row)) == 3 and max(row) < 4 for row in places.tolist())


def test_nothing_true_has_no_place() -> None:
    places, valid = true_places(FLAGS[2:])
    assert places.shape == valid.shape == (1, 0)


@pytest.mark.parametrize("shape", [(3, 4), (3, 4, 5)])
def test_rows_at_places(shape: tuple[int, ...]) -> None:
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    places = torch.tensor([[3, 0], [1, 1], [2, 3]])
    expected = torch.stack([row[where] for row, where in zip(x, places, strict=True)])
    assert torch.equal(rows_at(x, places), expected)
