"""How sure a score is: intervals over seeds and over test images."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from mimgen.errors import UserError

__all__ = ["Interval", "bootstrap", "bootstrap_difference", "over_seeds"]


@dataclass(frozen=True)
class Interval:
    """A mean and where it lies with the given confidence.

    Attributes:
        mean: of the values.
        low: lower end.
        high: upper end.
        level: confidence, for example 0.95.
        over: what varied: "seeds" or "test images".
        values: what was averaged over seeds; empty for the bootstrap.
    """

    mean: float
    low: float
    high: float
    level: float
    over: str
    values: tuple[float, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """JSON form."""
        return asdict(self)

    def __str__(self) -> str:
        return f"{100 * self.mean:.1f} ± {50 * (self.high - self.low):.1f}"


def over_seeds(values: Sequence[float], level: float = 0.95) -> Interval:
    """Student's t interval of the mean over runs: mean -+ t(level, k - 1) s / sqrt(k).

    Args:
        values: one score per seed, at least one; with one the interval is infinitely wide, since nothing
            is known of the spread.
        level: confidence, between 0 and 1.

    Raises:
        UserError: no value, a value that is not finite, or a level out of range.
    """
    _check_level(level)
    if not values or not all(math.isfinite(value) for value in values):
        raise UserError(f"an interval needs finite scores, at least one, got {list(values)}")
    mean = statistics.fmean(values)
    half = math.inf
    if len(values) > 1:
        half = student_t(0.5 + level / 2, len(values) - 1) * statistics.stdev(values) / math.sqrt(len(values))
    return Interval(mean, mean - half, mean + half, level, "seeds", tuple(float(value) for value in values))


def bootstrap(correct: Tensor, level: float = 0.95, *, seed: int, resamples: int = 2000) -> Interval:
    """Percentile bootstrap of an accuracy over test images.

    Args:
        correct: [m] or [seeds, m], 1 where an image is right (`ProbeResult.correct`); seeds are averaged first,
            since they share their test images.
        level: confidence, between 0 and 1.
        seed: determines the resamples.
        resamples: number of resamples.

    Raises:
        UserError: no image, or a level out of range.
    """
    _check_level(level)
    if not correct.numel():
        raise UserError("an interval needs at least one test image")
    images = correct.double().reshape(-1, correct.shape[-1]).mean(0).cpu()
    generator = torch.Generator().manual_seed(seed)
    means = torch.stack([
        images[torch.randint(len(images), (len(images),), generator=generator)].mean()
        for _ in range(resamples)
    ])  # fmt: skip
    ends = means.quantile(torch.tensor([0.5 - level / 2, 0.5 + level / 2], dtype=torch.float64))
    return Interval(float(images.mean()), float(ends[0]), float(ends[1]), level, "test images")


def bootstrap_difference(
    first: Tensor, second: Tensor, level: float = 0.95, *, seed: int, resamples: int = 2000
) -> Interval:
    """Bootstrap of how much better `first` is than `second` on the same test images, resampled in pairs.

    Args:
        first: [m] or [seeds, m] hits of one probe.
        second: [m] or [seeds, m] hits of another, for the same images in the same order.
        level: confidence, between 0 and 1.
        seed: determines the resamples.
        resamples: number of resamples.

    Returns:
        the interval; where it excludes 0 the difference is more than the choice of test images.

    Raises:
        UserError: the numbers of test images differ.
    """
    if first.shape[-1] != second.shape[-1]:
        raise UserError(
            f"probes on {first.shape[-1]} and {second.shape[-1]} test images cannot be compared in pairs"
        )
    a, b = (correct.double().reshape(-1, correct.shape[-1]).mean(0) for correct in (first, second))
    return bootstrap(a - b, level, seed=seed, resamples=resamples)


def student_t(probability: float, freedom: int) -> float:
    """The value that a Student t variable with `freedom` degrees stays below with `probability` > 1/2."""
    low, high = 0.0, 1.0
    while _t_below(high, freedom) < probability:
        high *= 2
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if _t_below(middle, freedom) < probability else (low, middle)
    return high


def _t_below(t: float, freedom: int) -> float:
    """P(T < t) for t >= 0; Abramowitz & Stegun 26.7.3 (odd) and 26.7.4 (even)."""
    angle = math.atan(t / math.sqrt(freedom))
    cosine = math.cos(angle)
    term, total = (cosine, cosine) if freedom % 2 else (1.0, 1.0)
    for k in range(2 + freedom % 2, freedom - 1, 2):
        term *= (k - 1) / k * cosine**2
        total += term
    if freedom == 1:
        inside = 2 / math.pi * angle
    elif freedom % 2:
        inside = 2 / math.pi * (angle + math.sin(angle) * total)
    else:
        inside = math.sin(angle) * total
    return 0.5 + inside / 2


def _check_level(level: float) -> None:
    if not 0 < level < 1:
        raise UserError(f"a confidence level lies between 0 and 1, got {level}")
