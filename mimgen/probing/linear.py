"""Linear probe: how much of a label can be read off features by one linear map."""

from __future__ import annotations

import torch
from torch import Tensor

from mimgen.probing.probe_split import ProbeResult, ProbeSplit, standardise

__all__ = ["ProbeResult", "linear_probe"]

# Relative to features of variance 1: from almost least squares to almost class means.
_REGULARISATIONS = tuple(10.0 ** (exponent / 2) for exponent in range(-12, 7))


def linear_probe(
    train_x: Tensor, train_y: Tensor, test_x: Tensor, test_y: Tensor, *, seed: int
) -> ProbeResult:
    """Ridge regression on one-hot labels in closed form; the largest output is the prediction.

    Features are standardised with the mean and deviation of train. lambda minimises the error on
    a fifth of train, sampled by `seed`, among 19 values from 1e-6 to 1e3 (ties go to the larger);
    then W = argmin |Y - X W|^2 / n + lambda |W|^2 is fitted on all of train.

    Args:
        train_x: [n, F] features.
        train_y: [n] integer labels, none negative.
        test_x: [m, F].
        test_y: [m]; labels that train lacks count as wrong.
        seed: determines the validation part.

    Raises:
        UserError: shapes do not fit, features are not finite, labels are missing (negative), train
            is smaller than 5 images or holds a single class.
    """
    probe_split = ProbeSplit.check(train_x, train_y, test_x, test_y)
    held, kept = probe_split.holdout(seed)
    classes = probe_split.train
    x = train_x.cpu().double()
    tried = _predictions(x[kept], classes[kept], x[held], probe_split.count, _REGULARISATIONS)  # [R, held]
    right = (tried == classes[held]).double().mean(1)
    best = max(range(len(_REGULARISATIONS)), key=lambda i: (float(right[i]), i))  # of equals the strongest
    chosen = _REGULARISATIONS[best]
    predicted = _predictions(x, classes, test_x.cpu().double(), probe_split.count, (chosen,))[0]
    return probe_split.score(predicted, "linear", regularisation=chosen, validation=float(right[best]))


def _predictions(
    train_x: Tensor, classes: Tensor, test_x: Tensor, count: int, regularisations: tuple[float, ...]
) -> Tensor:
    """[R, m] predicted class for each regularisation, from one eigendecomposition.

    With X^T X / n = V diag(e) V^T, W = V (V^T X^T Y / n) / (e + lambda). Where features outnumber
    images the same through X X^T.
    """
    x, points = standardise(train_x, test_x)
    targets = torch.nn.functional.one_hot(classes, count).double()
    offset = targets.mean(0)
    targets = (targets - offset) / len(x)
    if x.shape[1] <= len(x):
        values, vectors = torch.linalg.eigh(x.T @ x / len(x))  # [F], [F, F]
        left, right = points @ vectors, vectors.T @ (x.T @ targets)  # [m, F], [F, C]
    else:
        # fewer images than features: the Gram matrix [n, n] is the smaller problem
        values, vectors = torch.linalg.eigh(x @ x.T / len(x))
        left, right = (points @ x.T) @ vectors, vectors.T @ targets  # [m, n], [n, C]
    values = values.clamp(min=0)[:, None]  # rounding makes zeros negative
    return torch.stack([(left @ (right / (values + each)) + offset).argmax(1) for each in regularisations])
