"""Few-shot samples, layers and seeds, with a probe whose answers are known."""

import warnings

import pytest
import torch
from torch import Tensor

from mimgen.errors import UserError
from mimgen.probing.knn import knn_probe
from mimgen.probing.probe_split import ProbeResult, ProbeSplit
from mimgen.probing.repeats import few_shot, layerwise, repeated, sample_shots


def summary(train_x: Tensor, train_y: Tensor, test_x: Tensor, test_y: Tensor, /, *, seed: int) -> ProbeResult:
    """Predicts the first feature; its validation accuracy is the mean of the second."""
    probe_split = ProbeSplit.check(train_x, train_y, test_x, test_y, minimum=2)
    return probe_split.score(
        test_x[:, 0].long(), "says", validation=float(train_x[:, 1].mean()), details={"seed": seed}
    )


def data(right: int, validation: float) -> tuple[Tensor, Tensor]:
    """20 images in two classes, `right` of which carry their label as first feature."""
    y = torch.arange(20) % 2
    first = torch.where(torch.arange(20) < right, y, 1 - y).float()
    return torch.stack([first, torch.full((20,), validation)], 1), y


def test_shots_are_drawn_class_by_class() -> None:
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
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(120) % 4
    x = torch.eye(4)[y] * 1.2 + torch.randn(120, 4, generator=generator)
    found = few_shot(knn_probe, x, y, x, y, shots=(1, 20), seeds=(0, 1, 2))
    assert [result.n for result in found[1].results] == [4, 4, 4]
    assert found[20].accuracy.mean > found[1].accuracy.mean
    assert found[1].as_dict()["accuracy"]["values"] == found[1].accuracy.values


def test_the_layer_is_chosen_by_validation_and_not_by_test() -> None:
    good, y = data(20, 0.3)
    chosen, _ = data(10, 0.8)
    found = layerwise(summary, {0: good, 3: chosen}, y, {0: good, 3: chosen}, y, seeds=(0, 1))
    assert found.accuracy(0).mean == 1.0 and found.accuracy(3).mean == 0.5
    assert found.best == 3
    assert set(found.as_dict()["layers"]) == {0, 3}
    assert [result.details["seed"] for result in found.results[0]] == [0, 1]


def test_broken_input_is_named() -> None:
    x, y = data(20, 0.5)
    with pytest.raises(UserError, match="train has the layers"):
        layerwise(summary, {0: x}, y, {1: x}, y)
    with pytest.raises(UserError, match="seeds that differ"):
        repeated(summary, x, y, x, y, seeds=(1, 1))
    with pytest.raises(UserError, match="seeds that differ"):
        few_shot(summary, x, y, x, y, seeds=())
    with pytest.raises(UserError, match="at least 1 is needed"):
        sample_shots(y, 0, 0)
    with pytest.raises(UserError, match="2 images have no label"):
        sample_shots(torch.tensor([0, -1, 1, -1]), 1, 0)


def test_no_warning_where_nothing_is_wrong() -> None:
    x, y = data(20, 0.5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        few_shot(summary, x, y, x, y, shots=(1,), seeds=(0, 1))
