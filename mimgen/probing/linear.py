"""Linear probe: how much of a label can be read off features by one linear map."""

from __future__ import annotations

import warnings
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from mimgen.errors import UserError

# Relative to features of variance 1: from almost least squares to almost class means.
_REGULARISATIONS = tuple(10.0 ** (exponent / 2) for exponent in range(-12, 7))
_VALIDATION = 0.2


@dataclass(frozen=True)
class ProbeResult:
    """Outcome of a probe.

    Attributes:
        accuracy: share of test pictures whose label is predicted.
        balanced: mean over the classes in test of the share that is predicted.
        majority: accuracy of always saying the most frequent training label.
        n: training pictures.
        test_n: test pictures.
        classes: labels that occur in training.
        features: length of a feature vector.
        regularisation: the chosen lambda.
        validation: accuracy that chose it, on a part of train.
    """

    accuracy: float
    balanced: float
    majority: float
    n: int
    test_n: int
    classes: int
    features: int
    regularisation: float
    validation: float

    def as_dict(self) -> dict[str, Any]:
        """JSON form."""
        return asdict(self)


def linear_probe(
    train_x: Tensor, train_y: Tensor, test_x: Tensor, test_y: Tensor, *, seed: int
) -> ProbeResult:
    """Ridge regression on one-hot labels in closed form; the largest output is the prediction.

    Features are standardised with the mean and deviation of train. lambda minimises the error on
    a fifth of train, drawn by `seed`, among 19 values from 1e-6 to 1e3 (ties go to the larger);
    then W = argmin |Y - X W|^2 / n + lambda |W|^2 is fitted on all of train.

    Args:
        train_x: [n, F] features.
        train_y: [n] integer labels, none negative.
        test_x: [m, F].
        test_y: [m]; labels that train lacks count as wrong.
        seed: draws the validation part.

    Raises:
        UserError: shapes do not fit, features are not finite, labels are missing (negative), train
            is smaller than 5 pictures or holds a single class.
    """
    _check(train_x, train_y, "train")
    _check(test_x, test_y, "test")
    if train_x.shape[1] != test_x.shape[1]:
        raise UserError(f"probe: train has {train_x.shape[1]} features a picture, test {test_x.shape[1]}")
    labels, classes, counts = train_y.cpu().unique(return_inverse=True, return_counts=True)
    _check_classes(labels, counts, test_y.cpu())
    order = torch.randperm(len(classes), generator=torch.Generator().manual_seed(seed))
    cut = max(1, int(_VALIDATION * len(order)))
    held, kept = order[:cut], order[cut:]
    x = train_x.cpu().double()
    tried = _predictions(x[kept], classes[kept], x[held], len(labels), _REGULARISATIONS)
    right = (tried == classes[held]).double().mean(1)
    best = max(range(len(_REGULARISATIONS)), key=lambda i: (float(right[i]), i))
    chosen = _REGULARISATIONS[best]
    predicted = labels[_predictions(x, classes, test_x.cpu().double(), len(labels), (chosen,))[0]]
    hits = (predicted == test_y.cpu()).double()
    return ProbeResult(
        accuracy=float(hits.mean()),
        balanced=_balanced(hits, test_y.cpu()),
        majority=float((test_y.cpu() == labels[counts.argmax()]).double().mean()),
        n=len(train_x),
        test_n=len(test_x),
        classes=len(labels),
        features=train_x.shape[1],
        regularisation=chosen,
        validation=float(right[best]),
    )


def _balanced(hits: Tensor, labels: Tensor) -> float:
    return float(torch.stack([hits[labels == label].mean() for label in labels.unique()]).mean())


def _predictions(
    train_x: Tensor, classes: Tensor, test_x: Tensor, count: int, regularisations: tuple[float, ...]
) -> Tensor:
    """[R, m] predicted class for each regularisation, from one eigendecomposition.

    With X^T X / n = V diag(e) V^T, W = V (V^T X^T Y / n) / (e + lambda). Where features outnumber
    pictures the same through X X^T.
    """
    mean, deviation = train_x.mean(0), train_x.std(0, unbiased=False)
    scale = torch.where(deviation > 1e-8 * deviation.max(), deviation, torch.inf)  # constants say nothing
    x, points = (train_x - mean) / scale, (test_x - mean) / scale
    targets = torch.nn.functional.one_hot(classes, count).double()
    offset = targets.mean(0)
    targets = (targets - offset) / len(x)
    if x.shape[1] <= len(x):
        values, vectors = torch.linalg.eigh(x.T @ x / len(x))
        left, right = points @ vectors, vectors.T @ (x.T @ targets)
    else:
        values, vectors = torch.linalg.eigh(x @ x.T / len(x))
        left, right = (points @ x.T) @ vectors, vectors.T @ targets
    values = values.clamp(min=0)[:, None]
    return torch.stack([(left @ (right / (values + each)) + offset).argmax(1) for each in regularisations])


def _check(x: Tensor, y: Tensor, what: str) -> None:
    if x.dim() != 2 or y.dim() != 1 or len(x) != len(y) or not len(x):
        raise UserError(
            f"probe: {what} wants features [n, F] and labels [n], at least one, "
            f"got {list(x.shape)} and {list(y.shape)}"
        )
    broken = int((~torch.isfinite(x)).any(1).sum())
    if broken:
        raise UserError(
            f"probe: {broken} of {len(x)} {what} features are NaN or infinite; the encoder has diverged"
        )
    if y.is_floating_point():
        raise UserError(f"probe: {what} labels must be integers, got {y.dtype}")
    missing = int((y < 0).sum())
    if missing:
        raise UserError(f"probe: {missing} of {len(y)} {what} pictures have no label; leave them out")


def _check_classes(labels: Tensor, counts: Tensor, test_y: Tensor) -> None:
    if len(labels) < 2:
        raise UserError("probe: train holds a single class, nothing to tell apart; choose another label")
    if int(counts.sum()) < 5:
        raise UserError(f"probe: {int(counts.sum())} training pictures are too few; at least 5 are needed")
    rare = int((counts < 2).sum())
    if rare:
        warnings.warn(
            f"probe: {rare} of {len(labels)} classes have fewer than 2 training pictures", stacklevel=3
        )
    unseen = int((~torch.isin(test_y, labels)).sum())
    if unseen:
        warnings.warn(
            f"probe: {unseen} test pictures have a label that train lacks and count as wrong", stacklevel=3
        )
