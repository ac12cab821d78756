"""What every probe is given and what every probe returns: features with labels in, accuracies out."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import torch
from torch import Tensor

from mimgen.errors import UserError

# Rows of features looked at together, so that a memory map is not copied whole.
_ROWS = 8192


@dataclass(frozen=True)
class ProbeResult:
    """Outcome of a probe.

    Attributes:
        accuracy: share of test images whose label is predicted.
        balanced_accuracy: mean over the classes in test of the share that is predicted.
        majority: accuracy of always saying the most frequent training label.
        n: training images.
        test_n: test images.
        classes: labels that occur in training.
        features: length of a feature vector (width of a token for attentive probes).
        regularisation: the chosen lambda, None for a probe without one.
        validation: accuracy on a part of train, which chose the settings; None where nothing was chosen.
        probe: which probe it was.
        details: the probe's own settings and findings, JSON values only.
        correct: [m] float64, 1 where the test image's label is predicted; not part of the JSON form.
    """

    accuracy: float
    balanced_accuracy: float
    majority: float
    n: int
    test_n: int
    classes: int
    features: int
    regularisation: float | None = None
    validation: float | None = None
    probe: str = "linear"
    details: Mapping[str, Any] = field(default_factory=dict)
    correct: Tensor | None = field(default=None, compare=False, repr=False)

    def as_dict(self) -> dict[str, Any]:
        """JSON form."""
        return {each.name: getattr(self, each.name) for each in fields(self) if each.name != "correct"}


@dataclass(frozen=True)
class ProbeSplit:
    """Labels of train and test, checked and counted from 0.

    Attributes:
        labels: [C] int64, the labels that occur in train, ascending.
        train: [n] int64 classes: positions in `labels`.
        test: [m] int64 classes, -1 where train lacks the label.
        test_labels: [m] int64 labels as given.
        width: length of a feature vector.
    """

    labels: Tensor
    train: Tensor
    test: Tensor
    test_labels: Tensor
    width: int

    @classmethod
    def check(
        cls, train_x: Tensor, train_y: Tensor, test_x: Tensor, test_y: Tensor, *, tokens: bool = False, minimum: int = 5
    ) -> ProbeSplit:
        """Look for everything that would make an accuracy mean nothing.

        Args:
            train_x: [n, F] features, or [n, N, D] with `tokens`.
            train_y: [n] integer labels, none negative.
            test_x: [m, F] or [m, N, D].
            test_y: [m]; labels that train lacks count as wrong, with a warning.
            tokens: features are all tokens of an image, for attentive probes.
            minimum: fewest training images that the probe can use.

        Raises:
            UserError: shapes do not fit, features are not finite or all the same, labels are missing
                (negative), or train is too small or holds a single class.
        """
        for x, y, what in ((train_x, train_y, "train"), (test_x, test_y, "test")):
            _check(x, y, what, tokens)
        if train_x.shape[1:] != test_x.shape[1:]:
            raise UserError(
                f"probe: train has {_size(train_x)} features per image, test {_size(test_x)}; "
                "they come from different encoders, layers, poolings or image sizes"
            )
        labels, classes, counts = train_y.cpu().unique(return_inverse=True, return_counts=True)
        _check_classes(labels, counts, test_y.cpu(), minimum)
        if all(bool((rows == train_x[:1]).all()) for rows in train_x.split(_ROWS)):
            raise UserError("probe: all training features are the same; the encoder has collapsed")
        test = torch.searchsorted(labels, test_y.cpu().contiguous()).clamp(max=len(labels) - 1)
        test = torch.where(labels[test] == test_y.cpu(), test, -1)
        return cls(labels, classes, test, test_y.cpu(), train_x.shape[-1])

    @property
    def count(self) -> int:
        """Number of classes C."""
        return len(self.labels)

    def holdout(self, seed: int, share: float = 0.2, maximum: int | None = None) -> tuple[Tensor, Tensor]:
        """(held, kept): positions in train, a random `share` of it (at most `maximum`) and the rest."""
        order = torch.randperm(len(self.train), generator=torch.Generator().manual_seed(seed))
        cut = max(1, int(share * len(order)))
        cut = cut if maximum is None else min(cut, maximum)
        return order[:cut], order[cut:]

    def score(
        self,
        predicted: Tensor,
        probe: str,
        *,
        regularisation: float | None = None,
        validation: float | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> ProbeResult:
        """Count how many of the classes `predicted` [m] for the test images are right."""
        correct = (predicted.cpu() == self.test).double()
        majority = self.train.bincount().argmax()
        return ProbeResult(
            accuracy=float(correct.mean()),
            balanced_accuracy=balanced_accuracy(correct, self.test_labels),
            majority=float((self.test == majority).double().mean()),
            n=len(self.train),
            test_n=len(self.test),
            classes=self.count,
            features=self.width,
            regularisation=regularisation,
            validation=validation,
            probe=probe,
            details=dict(details or {}),
            correct=correct,
        )


def balanced_accuracy(correct: Tensor, labels: Tensor) -> float:
    """Mean over the classes of `labels` [m] of the share of `correct` [m]."""
    _, classes, counts = labels.unique(return_inverse=True, return_counts=True)
    right = torch.zeros(len(counts), dtype=torch.float64).index_add_(0, classes, correct.double())
    return float((right / counts).mean())


def standardise(train_x: Tensor, *others: Tensor) -> tuple[Tensor, ...]:
    """Features less the mean of train, over the deviation of train; constant features become 0."""
    deviation, mean = torch.std_mean(train_x, dim=0, correction=0)
    scale = torch.where(deviation > 1e-8 * deviation.max(), deviation, torch.inf)
    return tuple((x - mean) / scale for x in (train_x, *others))


def _size(x: Tensor) -> str:
    return " x ".join(str(side) for side in x.shape[1:])


def _check(x: Tensor, y: Tensor, what: str, tokens: bool) -> None:
    if x.dim() != (3 if tokens else 2) or y.dim() != 1 or len(x) != len(y) or not len(x):
        raise UserError(
            f"probe: {what} wants features {'[n, N, D]' if tokens else '[n, F]'} and labels [n], at least one, "
            f"got {list(x.shape)} and {list(y.shape)}"
        )
    if not x.is_floating_point():
        raise UserError(f"probe: {what} features must be floating-point numbers, got {x.dtype}")
    broken = sum(int((~torch.isfinite(rows)).flatten(1).any(1).sum()) for rows in x.split(_ROWS))
    if broken:
        raise UserError(
            f"probe: {broken} of {len(x)} {what} features are NaN or infinite; the encoder has diverged"
        )
    if y.is_floating_point() or y.dtype == torch.bool:
        raise UserError(f"probe: {what} labels must be integers, got {y.dtype}")
    missing = int((y < 0).sum())
    if missing:
        raise UserError(f"probe: {missing} of {len(y)} {what} images have no label; leave them out")


def _check_classes(labels: Tensor, counts: Tensor, test_y: Tensor, minimum: int) -> None:
    if len(labels) < 2:
        raise UserError("probe: train holds a single class, nothing to tell apart; choose another label")
    if int(counts.sum()) < minimum:
        raise UserError(
            f"probe: {int(counts.sum())} training images are too few; at least {minimum} are needed"
        )
    rare = int((counts < 2).sum())
    if rare and minimum > 2:
        warnings.warn(
            f"probe: {rare} of {len(labels)} classes have fewer than 2 training images", stacklevel=4
        )
    held_out = int((~torch.isin(test_y, labels)).sum())
    if held_out:
        warnings.warn(
            f"probe: {held_out} test images have a label that train lacks and count as wrong", stacklevel=4
        )
