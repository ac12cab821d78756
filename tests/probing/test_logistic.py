"""Logistic regression against scikit-learn and against its own optimality condition."""

import pytest
import torch
from torch import Tensor

from mimgen.errors import UserError
from mimgen.probing.logistic import fit_logistic, logistic_probe


def blobs(n: int, seed: int, features: int = 6, spread: float = 1.5) -> tuple[Tensor, Tensor]:
    centres = torch.randn(3, features, generator=torch.Generator().manual_seed(9))
    generator = torch.Generator().manual_seed(seed)
    y = torch.randint(3, (n,), generator=generator)
    return centres[y] + spread * torch.randn(n, features, generator=generator), y


@pytest.mark.parametrize("regularisation", [1e-3, 0.1])
def test_weights_are_those_of_sklearn(regularisation: float) -> None:
    linear_model = pytest.importorskip("sklearn.linear_model")
    x, y = blobs(80, 0)
    x = x.double()
    ours = fit_logistic(x, y, 3, regularisation, tolerance=1e-9)
    model = linear_model.LogisticRegression(C=1 / (regularisation * 80), tol=1e-9, max_iter=2000)
    model.fit(x.numpy(), y.numpy())
    assert torch.allclose(ours[:-1], torch.from_numpy(model.coef_.T), atol=1e-4)
    # biases are known up to a constant
    biases = torch.from_numpy(model.intercept_)
    assert torch.allclose(ours[-1] - ours[-1].mean(), biases - biases.mean(), atol=1e-4)


def test_the_gradient_vanishes() -> None:
    x, y = blobs(60, 1)
    x = x.double()
    weights = fit_logistic(x, y, 3, 0.01, tolerance=1e-9).requires_grad_()
    loss = torch.nn.functional.cross_entropy(x @ weights[:-1] + weights[-1], y)
    (slope,) = torch.autograd.grad(loss + 0.005 * weights[:-1].square().sum(), weights)
    assert float(slope.abs().max()) < 1e-7


def test_the_start_does_not_matter() -> None:
    x, y = blobs(60, 1)
    start = torch.randn(7, 3, generator=torch.Generator().manual_seed(0)).double()
    a = fit_logistic(x.double(), y, 3, 0.1, tolerance=1e-9)
    b = fit_logistic(x.double(), y, 3, 0.1, start=start, tolerance=1e-9)
    assert torch.allclose(a[:-1], b[:-1], atol=1e-5)


def test_probe_reads_labels_and_chooses() -> None:
    result = logistic_probe(*blobs(150, 0, spread=0.4), *blobs(100, 1, spread=0.4), seed=0, iterations=50)
    assert result.accuracy > 0.95
    assert result.probe == "logistic"
    assert result.validation is not None and result.validation > 0.9


def test_a_single_regularisation_needs_no_validation_part() -> None:
    x, y = torch.tensor([[0.0, 1.0], [1.0, 0.0]]), torch.tensor([4, 8])
    result = logistic_probe(x, y, x, y, seed=0, regularisations=(1.0,))
    assert result.accuracy == 1.0
    assert result.validation is None


def test_broken_settings_are_named() -> None:
    x, y = blobs(20, 0)
    with pytest.raises(UserError, match="must be 0 or more"):
        logistic_probe(x, y, x, y, seed=0, regularisations=(-1.0,))
    with pytest.raises(UserError, match="must be 0 or more"):
        logistic_probe(x, y, x, y, seed=0, regularisations=())
