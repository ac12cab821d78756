"""Many learning rates and regularisations of a linear probe, trained at once on cached features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mimgen.errors import UserError
from mimgen.probing.probe_split import ProbeResult, ProbeSplit, standardise

__all__ = ["Sweep", "sweep_probe"]


@dataclass(frozen=True)
class Sweep:
    """Settings of linear probes that are trained together; the defaults make 30.

    Attributes:
        rates: learning rates, as multiples of the step that is safe without momentum (see `train_all`).
        regularisations: values of lambda: loss + lambda / 2 |W|^2, relative to features of variance 1.
        epochs: passes over train.
        batch: images per step; at least twice the rank of the features is taken.
        momentum: Nesterov momentum.
    """

    rates: tuple[float, ...] = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
    regularisations: tuple[float, ...] = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
    epochs: int = 10
    batch: int = 1024
    momentum: float = 0.9

    def __post_init__(self) -> None:
        if not self.rates or not self.regularisations or min(self.rates) <= 0 or min(self.regularisations) < 0:
            raise UserError("sweep: rates must be above 0, regularisations 0 or more, one of each at least")
        if self.epochs < 1 or self.batch < 1 or not 0 <= self.momentum < 1:
            raise UserError("sweep: epochs and batch must be at least 1, momentum in [0, 1)")

    @property
    def settings(self) -> list[tuple[float, float]]:
        """(rate, regularisation) of each probe."""
        return [(rate, regularisation) for rate in self.rates for regularisation in self.regularisations]


def sweep_probe(
    train_x: Tensor,
    train_y: Tensor,
    test_x: Tensor,
    test_y: Tensor,
    *,
    seed: int,
    sweep: Sweep | None = None,
) -> ProbeResult:
    """The best of many linear probes under cross-entropy, chosen on a fifth of train.

    All settings read the same batches, so that a step of all of them is one wide matrix product each
    way. The chosen setting (ties go to the larger lambda, then the smaller rate) is trained again on
    all of train.

    Args:
        train_x: [n, F] features.
        train_y: [n] integer labels, none negative.
        test_x: [m, F].
        test_y: [m]; labels that train lacks count as wrong.
        seed: determines the validation part and the order of the images.
        sweep: the settings; 30 by default.

    Raises:
        UserError: as `ProbeSplit.check`, or every setting diverged.
    """
    sweep = sweep or Sweep()
    probe_split = ProbeSplit.check(train_x, train_y, test_x, test_y)
    x, points, curvature = principal(*standardise(train_x.cpu().float(), test_x.cpu().float()))
    held, kept = probe_split.holdout(seed)
    classes, count = probe_split.train, probe_split.count
    weights = train_all(x[kept], classes[kept], count, curvature, sweep.settings, sweep, seed)
    shares = accuracies(x[held], classes[held], weights)
    best = max(range(len(shares)), key=lambda i: (shares[i], sweep.settings[i][1], -sweep.settings[i][0]))
    if shares[best] < 0:
        raise UserError("sweep: every setting diverged; give smaller rates")
    rate, regularisation = sweep.settings[best]
    final = train_all(x, classes, count, curvature, [sweep.settings[best]], sweep, seed)
    return probe_split.score(
        _logits(points, final[0]).argmax(1),
        "sweep",
        regularisation=regularisation,
        validation=shares[best],
        details={
            "rate": rate, "epochs": sweep.epochs, "batch": _batch(sweep, x), "momentum": sweep.momentum,
            "settings": sweep.settings, "validations": shares,
        },
    )  # fmt: skip


def principal(x: Tensor, points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Rotate features to their principal axes, where their covariance is diagonal.

    A rotation changes neither logits nor |W|^2. Axes along which no training image lies are left out,
    since no gradient ever points there.

    Args:
        x: [n, F] standardised features.
        points: [m, F] others.

    Returns:
        [n, R], [m, R] and the variances [R], R the rank.
    """
    if x.shape[1] <= len(x):
        values, axes = torch.linalg.eigh((x.T @ x).double() / len(x))  # [F], [F, F]
        keep = values > 1e-7 * values[-1]
        axes = axes[:, keep].float()
    else:
        values, sides = torch.linalg.eigh((x @ x.T).double() / len(x))  # [n], [n, n]
        keep = values > 1e-7 * values[-1]
        axes = x.T @ (sides[:, keep] / (values[keep] * len(x)).sqrt()).float()  # [F, R]
    return x @ axes, points @ axes, values[keep].float()  # [n, R], [m, R], [R]


def train_all(
    x: Tensor,
    classes: Tensor,
    count: int,
    curvature: Tensor,
    settings: Sequence[tuple[float, float]],
    sweep: Sweep,
    seed: int,
) -> Tensor:
    """[S, R + 1, C] weights and biases of S linear probes after the same batches.

    Nesterov momentum with a half cosine. The Hessian of cross-entropy is at most half the covariance of
    the features (Böhning & Lindsay 1988), so along an axis of variance e a step of 2 / (e + 2 lambda) is
    safe; dividing by that makes all axes learn at one pace. `rate` multiplies it.

    Args:
        x: [n, R] features on principal axes.
        classes: [n] int64.
        count: number of classes C.
        curvature: [R] variances e.
        settings: S pairs (rate, regularisation).
        sweep: epochs, batch and momentum.
        seed: determines the order of the images.
    """
    x = torch.cat([x, torch.ones_like(x[:, :1])], dim=1)  # [n, R + 1], the last for the bias
    width, number = x.shape[1], len(settings)
    rates = torch.tensor([rate for rate, _ in settings])
    decay = torch.tensor([regularisation for _, regularisation in settings]) * torch.ones(width, 1)
    decay[-1] = 0  # biases are free
    # Axes with next to no variance hold noise: damped by a hundredth of the mean variance.
    bound = torch.cat([curvature, curvature.new_ones(1)])[:, None] + 0.01 * curvature.mean() + 2 * decay
    steps_of = (rates * 2 / bound)[:, :, None]  # [R + 1, S, 1]
    decay = decay[:, :, None]
    weights = torch.zeros(width, number, count)  # [R + 1, S, C]
    velocity = torch.zeros_like(weights)
    generator = torch.Generator().manual_seed(seed)
    batch = _batch(sweep, x)
    each = max(1, len(x) // batch)
    total, done = sweep.epochs * each, 0
    for _ in range(sweep.epochs):
        order = torch.randperm(len(x), generator=generator)
        for rows in order.tensor_split(each):
            slope = _slope(x[rows], classes[rows], weights).addcmul_(decay, weights)
            velocity.mul_(sweep.momentum).add_(slope)
            slope.add_(velocity, alpha=sweep.momentum).mul_(steps_of)  # Nesterov's momentum
            fade = 0.5 * (1 + torch.cos(torch.tensor(torch.pi * done / total)))
            # (1 - momentum): the rate is that of the sum of the steps that momentum makes of one.
            weights.sub_(slope, alpha=float(fade) * (1 - sweep.momentum))
            done += 1
    return weights.transpose(0, 1)  # [S, R + 1, C]


def accuracies(x: Tensor, classes: Tensor, weights: Tensor) -> list[float]:
    """Accuracy of each of the S probes `weights` on x [n, R]; -1 for a probe that diverged."""
    finite = torch.isfinite(weights).flatten(1).all(1).tolist()
    return [
        float((_logits(x, each).argmax(1) == classes).double().mean()) if good else -1.0
        for each, good in zip(weights, finite)
    ]


def _slope(x: Tensor, classes: Tensor, weights: Tensor) -> Tensor:
    """[R + 1, S, C] gradient of the mean cross-entropy of every probe, from two matrix products."""
    slope = (x @ weights.flatten(1)).unflatten(1, weights.shape[1:]).softmax(2)  # [n, S, C]
    slope[torch.arange(len(x)), :, classes] -= 1
    return (x.T @ slope.flatten(1)).div_(len(x)).unflatten(1, weights.shape[1:])


def _logits(x: Tensor, weights: Tensor) -> Tensor:
    return torch.addmm(weights[-1], x, weights[:-1])


def _batch(sweep: Sweep, x: Tensor) -> int:
    # Batches with fewer images than axes would overshoot along axes that they happen to miss.
    return min(len(x), max(sweep.batch, 2 * x.shape[1]))
