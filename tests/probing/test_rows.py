"""Few-shot samples, layers and seeds; which layer is chosen."""

import warnings

import pytest
import torch
from torch import Tensor

from mimgen.errors import UserError
from mimgen.probing import probe_levels
from mimgen.probing.rows import ProbeRow, best_rows, sample_shots


def blobs(n: int = 120, noise: float = 1.0) -> tuple[Tensor, Tensor]:
    """[n, 4] features of four classes."""
    y = torch.arange(n) % 4
    return torch.eye(4)[y] * 1.2 + noise * torch.randn(n, 4, generator=torch.Generator().manual_seed(0)), y


def test_shots_are_sampled_class_by_class() -> None:
    labels = torch.tensor([5] * 10 + [2] * 10 + [9] * 10)
    rows = sample_shots(labels, 3, 0)
    assert labels[rows].bincount().tolist() == [0, 0, 3, 0, 0, 3, 0, 0, 0, 3]
    assert torch.equal(rows, rows.sort().values)
    assert torch.equal(rows, sample_shots(labels, 3, 0))
    assert not torch.equal(rows, sample_shots(labels, 3, 1))
    assert set(rows.tolist()) <= set(sample_shots(labels, 5, 0).tolist())


def test_small_classes_give_all_and_warn() -> None:
    labels = torch.tensor([0] * 6 + [1] * 2)
    with pytest.warns(UserWarning, match="1 of 2 classes have fewer than 4"):
        assert len(sample_shots(labels, 4, 0)) == 6


def test_few_shot_improves_with_shots() -> None:
    x, y = blobs()
    rows = [row for row, _ in probe_levels("knn", {0: x}, y, {0: x}, y, seeds=(0, 1, 2), few_shot=(1, 20))]
    assert [row.few for row in rows] == [None, 1, 20]
    assert rows[1].details["n"] == 4 and len(rows[1].values) == 3
    assert rows[2].mean > rows[1].mean
    assert rows[1].score()["values"] == list(rows[1].values)


def test_every_layer_is_probed_with_every_seed() -> None:
    x, y = blobs(noise=0.1)
    blind = torch.randn(len(y), 4, generator=torch.Generator().manual_seed(1))
    levels = {0: blind, 3: x}
    rows = [row for row, _ in probe_levels("linear", levels, y, levels, y, seeds=(0, 1))]
    assert [row.layer for row in rows] == [0, 3] and all(len(row.values) == 2 for row in rows)
    assert rows[1].mean > 0.9 > rows[0].mean
    assert best_rows(rows)["linear"].layer == 3


def test_the_layer_is_chosen_by_validation_and_not_by_test() -> None:
    def row(layer: int, accuracy: float, validation: float | None, few: int | None = None) -> ProbeRow:
        return ProbeRow("linear", layer, few, (accuracy,), accuracy, 0.5, validation, None, {})

    assert best_rows([row(0, 1.0, 0.3), row(3, 0.5, 0.8), row(4, 0.6, 0.7), row(4, 1.0, 0.9, 5)])["linear"].layer == 3
    # without held-out images nothing may choose: the last layer it is
    assert best_rows([row(0, 1.0, None), row(3, 0.5, None)])["linear"].layer == 3


def test_broken_input_is_named() -> None:
    x, y = blobs()
    with pytest.raises(UserError, match="train has the layers"):
        list(probe_levels("knn", {0: x}, y, {1: x}, y))
    for seeds in ((1, 1), ()):
        with pytest.raises(UserError, match="seeds that differ"):
            list(probe_levels("knn", {0: x}, y, {0: x}, y, seeds=seeds))
    with pytest.raises(UserError, match="unknown probe of frozen features 'fine-tune'"):
        list(probe_levels("fine-tune", {0: x}, y, {0: x}, y))
    with pytest.raises(UserError, match="at least 1 is needed"):
        sample_shots(y, 0, 0)
    with pytest.raises(UserError, match="2 images have no label"):
        sample_shots(torch.tensor([0, -1, 1, -1]), 1, 0)


def test_no_warning_where_nothing_is_wrong() -> None:
    x, y = blobs()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        list(probe_levels("knn", {0: x}, y, {0: x}, y, few_shot=(1,), seeds=(0, 1)))
