"""What probes share: checks, classes, grades."""

import json

import pytest
import torch

from mimgen.errors import UserError
from mimgen.probing.probe_split import ProbeSplit, balanced_accuracy, standardise


def test_labels_become_classes() -> None:
    x = torch.arange(12.0).reshape(6, 2)
    with pytest.warns(UserWarning, match="1 test images have a label that train lacks"):
        probe_split = ProbeSplit.check(x, torch.tensor([7, 3, 7, 3, 7, 3]), x[:3], torch.tensor([3, 5, 7]))
    assert probe_split.labels.tolist() == [3, 7]
    assert probe_split.train.tolist() == [1, 0, 1, 0, 1, 0]
    assert probe_split.test.tolist() == [0, -1, 1]


def test_grades_are_counted() -> None:
    x = torch.arange(16.0).reshape(8, 2)
    probe_split = ProbeSplit.check(x, torch.tensor([0, 0, 0, 1, 1, 0, 0, 0]), x[:4], torch.tensor([0, 0, 0, 1]))
    result = probe_split.score(torch.tensor([0, 0, 1, 1]), "mine", details={"a": 1})
    assert (result.accuracy, result.balanced_accuracy, result.majority) == pytest.approx((0.75, (2 / 3 + 1) / 2, 0.75))
    assert result.correct is not None and result.correct.tolist() == [1, 1, 0, 1]
    assert json.loads(json.dumps(result.as_dict()))["probe"] == "mine"
    assert "correct" not in result.as_dict()


def test_balanced_weighs_classes_alike() -> None:
    assert balanced_accuracy(torch.tensor([1.0, 1, 1, 0]), torch.tensor([4, 4, 4, 9])) == 0.5


def test_constant_features_become_zero() -> None:
    x = torch.stack([torch.arange(5.0), torch.full((5,), 3.3)], 1)
    scaled, other = standardise(x, x + 1)
    assert torch.allclose(scaled.mean(0), torch.zeros(2), atol=1e-6)
    assert torch.allclose(scaled.std(0, correction=0), torch.tensor([1.0, 0.0]))
    assert not other[:, 1].any()


def test_token_features_have_three_dimensions() -> None:
    x, y = torch.randn(6, 4, 3, generator=torch.Generator().manual_seed(0)), torch.arange(6) % 2
    assert ProbeSplit.check(x, y, x, y, tokens=True).width == 3
    with pytest.raises(UserError, match=r"features \[n, N, D\]"):
        ProbeSplit.check(x[:, 0], y, x[:, 0], y, tokens=True)
    with pytest.raises(UserError, match="train has 4 x 3 features per image, test 2 x 3"):
        ProbeSplit.check(x, y, x[:, :2], y, tokens=True)


def test_features_must_be_numbers_that_differ() -> None:
    y = torch.arange(6) % 2
    with pytest.raises(UserError, match="floating-point"):
        ProbeSplit.check(torch.ones(6, 2, dtype=torch.int64), y, torch.ones(6, 2), y)
    with pytest.raises(UserError, match="all training features are the same"):
        ProbeSplit.check(torch.ones(6, 2), y, torch.randn(6, 2), y)
    with pytest.raises(UserError, match="labels must be integers"):
        ProbeSplit.check(torch.rand(6, 2), y.bool(), torch.rand(6, 2), y)
