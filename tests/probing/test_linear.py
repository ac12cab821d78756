"""The linear probe on data whose answer is known."""

import warnings

import numpy as np
import pytest
import torch
from torch import Tensor

from mimgen.errors import UserError
from mimgen.probing import linear_probe


def blobs(n: int, features: int, seed: int, spread: float = 0.5) -> tuple[Tensor, Tensor]:
    """Four classes around fixed centres; labels are 3, 5, 7, 9."""
    centres = torch.randn(4, features, generator=torch.Generator().manual_seed(99))
    generator = torch.Generator().manual_seed(seed)
    classes = torch.randint(4, (n,), generator=generator)
    return centres[classes] + spread * torch.randn(n, features, generator=generator), classes * 2 + 3


def test_separable_classes_are_read() -> None:
    result = linear_probe(*blobs(200, 12, 0), *blobs(100, 12, 1), seed=0)
    assert result.accuracy > 0.97
    assert result.balanced_accuracy > 0.97
    assert result.majority < 0.5
    assert (result.n, result.test_n, result.classes, result.features) == (200, 100, 4, 12)


def test_shuffled_labels_are_near_chance() -> None:
    x, y = blobs(400, 12, 0)
    shuffled = y[torch.randperm(400, generator=torch.Generator().manual_seed(1))]
    result = linear_probe(x, shuffled, *blobs(400, 12, 1), seed=0)
    assert result.accuracy < 0.4


def test_noise_features_do_not_beat_the_majority() -> None:
    generator = torch.Generator().manual_seed(0)
    y = (torch.rand(600, generator=generator) > 0.8).long()
    x = torch.randn(600, 30, generator=generator)
    result = linear_probe(x[:300], y[:300], x[300:], y[300:], seed=0)
    assert result.accuracy <= result.majority + 0.02
    assert result.majority > 0.7


def test_more_features_than_images() -> None:
    x, y = blobs(60, 300, 0, spread=2.0)
    result = linear_probe(x, y, *blobs(100, 300, 1, spread=2.0), seed=0)
    assert result.accuracy > 0.8


@pytest.mark.parametrize("features", [10, 80])
def test_agrees_with_sklearn_ridge(features: int) -> None:
    linear_model = pytest.importorskip("sklearn.linear_model")
    (x, y), (test_x, test_y) = blobs(60, features, 0, spread=3.0), blobs(200, features, 1, spread=3.0)
    ours = linear_probe(x, y, test_x, test_y, seed=0)
    mean, deviation = x.mean(0), x.std(0, unbiased=False)
    model = linear_model.Ridge(alpha=ours.regularisation * 60)
    targets = torch.nn.functional.one_hot((y - 3) // 2, 4).double()
    model.fit(((x - mean) / deviation).double().numpy(), targets.numpy())
    predicted = model.predict(((test_x - mean) / deviation).double().numpy()).argmax(1) * 2 + 3
    assert ours.accuracy == pytest.approx(np.mean(predicted == test_y.numpy()), abs=0.006)


def test_scale_and_constant_features_do_not_matter() -> None:
    (x, y), (test_x, test_y) = blobs(100, 6, 0, spread=1.5), blobs(100, 6, 1, spread=1.5)
    scale = torch.tensor([1e-3, 1, 1e3, 7, 0.1, 50.0])

    def widened(features: Tensor) -> Tensor:
        return torch.cat([features * scale + 5, torch.full((len(features), 2), 3.3)], dim=1)

    a = linear_probe(x, y, test_x, test_y, seed=0)
    b = linear_probe(widened(x), y, widened(test_x), test_y, seed=0)
    assert a.accuracy == pytest.approx(b.accuracy, abs=0.011)


def test_same_seed_same_result() -> None:
    arguments = (*blobs(100, 8, 0, spread=2.0), *blobs(100, 8, 1, spread=2.0))
    assert linear_probe(*arguments, seed=3) == linear_probe(*arguments, seed=3)


def test_broken_input_is_named() -> None:
    x, y = blobs(20, 4, 0)
    with pytest.raises(UserError, match="single class"):
        linear_probe(x, torch.zeros(20, dtype=torch.long), x, y, seed=0)
    with pytest.raises(UserError, match="1 of 20 test features are NaN"):
        linear_probe(x, y, x.index_fill(0, torch.tensor([3]), torch.nan), y, seed=0)
    with pytest.raises(UserError, match="2 of 20 train images have no label"):
        linear_probe(x, y.index_fill(0, torch.tensor([3, 4]), -1), x, y, seed=0)
    with pytest.raises(UserError, match="labels must be integers"):
        linear_probe(x, y.float(), x, y, seed=0)
    with pytest.raises(UserError, match="4 features per image, test 3"):
        linear_probe(x, y, x[:, :3], y, seed=0)
    with pytest.raises(UserError, match="too few"):
        linear_probe(x[:4], torch.tensor([0, 1, 0, 1]), x, y, seed=0)
    with pytest.raises(UserError, match=r"features \[n, F\] and labels \[n\]"):
        linear_probe(x, y[:5], x, y, seed=0)


def test_rare_and_unseen_classes_warn() -> None:
    x, y = blobs(40, 4, 0)
    with pytest.warns(UserWarning, match="1 of 5 classes have fewer than 2"):
        linear_probe(x, y.index_fill(0, torch.tensor([0]), 77), x, y, seed=0)
    with pytest.warns(UserWarning, match="1 test images have a label that train lacks"):
        linear_probe(x, y, x, y.index_fill(0, torch.tensor([0]), 78), seed=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        linear_probe(x, y, x, y, seed=0)
