"""Unmasking schedules: which share of the tokens is still masked after a part of the steps.

A schedule is a frozen dataclass called with the ratio of steps done, in (0, 1], and returns the share
still masked, in [0, 1]; it falls and ends at 0. Arithmetic is float32 because the released samplers
use it: at a ratio such as 2/3 a cosine of 0.5 decides whether one token more stays masked.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from mimgen.errors import UserError


class Schedule(Protocol):
    """The interface of every schedule."""

    def __call__(self, ratio: float) -> float:
        """Share still masked, in [0, 1], when `ratio`, in (0, 1], of the steps is done."""
        ...

    def known(self, ratio: float) -> float:
        """1 - share, rounded once only, so that whole numbers of tokens come out whole; `ratio` may be 0."""
        ...


@dataclass(frozen=True)
class Cosine:
    """cos(pi r / 2): few tokens first, many at the end (MaskGIT, section 3.2).

    Attributes:
        precise: float64 arithmetic, as in the code of MAGE and MAR.
    """

    precise: bool = False

    def __call__(self, ratio: float) -> float:
        """Share still masked, in [0, 1], when `ratio`, in (0, 1], of the steps is done."""
        return _share(self._cosine(_checked(ratio)))

    def known(self, ratio: float) -> float:
        """1 - share, in [0, 1]; `ratio` may be 0."""
        return _share(1 - self._cosine(ratio))

    def _cosine(self, ratio: float) -> Tensor:
        number = torch.tensor(ratio, dtype=torch.float64 if self.precise else torch.float32)
        return torch.cos(number * (math.pi / 2))


@dataclass(frozen=True)
class Linear:
    """1 - r: the same number of tokens in every step."""

    def __call__(self, ratio: float) -> float:
        """Share still masked, in [0, 1], when `ratio`, in (0, 1], of the steps is done."""
        return _share(1 - _single(_checked(ratio)))

    def known(self, ratio: float) -> float:
        """1 - share, in [0, 1]; `ratio` may be 0."""
        return _share(_single(ratio))


@dataclass(frozen=True)
class Arccos:
    """arccos(r) / (pi / 2): many tokens at both ends (Halton-MaskGIT, TiTok)."""

    def __call__(self, ratio: float) -> float:
        """Share still masked, in [0, 1], when `ratio`, in (0, 1], of the steps is done."""
        return _share(torch.arccos(_single(_checked(ratio))) / (math.pi / 2))

    def known(self, ratio: float) -> float:
        """1 - share, in [0, 1]; `ratio` may be 0."""
        return _share(1 - torch.arccos(_single(ratio)) / (math.pi / 2))


@dataclass(frozen=True)
class Power:
    """1 - r^p: with p = 2 few tokens first, with p = 0.5 many.

    Attributes:
        exponent: p, above 0.
    """

    exponent: float = 2.0

    def __post_init__(self) -> None:
        if self.exponent <= 0:
            raise UserError(f"exponent {self.exponent} of the schedule: give a number above 0")

    def __call__(self, ratio: float) -> float:
        """Share still masked, in [0, 1], when `ratio`, in (0, 1], of the steps is done."""
        return _share(1 - _single(_checked(ratio)) ** self.exponent)

    def known(self, ratio: float) -> float:
        """1 - share, in [0, 1]; `ratio` may be 0."""
        return _share(_single(ratio) ** self.exponent)


@dataclass(frozen=True)
class Remaining:
    """What is left of a schedule of which a part is done, as a share of what was masked then.

    Editing starts in the middle: f(d) of the tokens are masked, and f(d + (1 - d) r) / f(d) of these are still
    masked when a share r of the remaining steps is made.

    Attributes:
        schedule: f, the whole schedule.
        done: d in [0, 1), the part of its steps that is skipped.
    """

    schedule: Schedule = field(default_factory=Cosine)
    done: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.done < 1:
            raise UserError(f"{self.done} of the schedule done: give a share in [0, 1)")

    def __call__(self, ratio: float) -> float:
        """Share still masked, in [0, 1], when `ratio`, in (0, 1], of the remaining steps is done."""
        return self._at(_checked(ratio)) / self._at(0)

    def known(self, ratio: float) -> float:
        """1 - share, in [0, 1]; `ratio` may be 0."""
        return 1 - self._at(ratio) / self._at(0)

    def _at(self, ratio: float) -> float:
        """Share still masked of the whole when `ratio` of the remaining steps is done."""
        overall = min(1.0, self.done + (1 - self.done) * ratio)
        return self.schedule(overall) if overall > 0 else 1.0


@dataclass(frozen=True)
class CountSchedule:
    """Counts the tokens that are known, not those still masked: max(floor(N known(r)), s + 1) after step s.

    So do the samplers of Halton-MaskGIT. Rounding goes the other way, and steps in which the schedule
    reveals nothing reveal one token.

    Attributes:
        schedule: the share.
        from_start: r = s / (S - 1) instead of (s + 1) / S: the first step reveals a single token.
    """

    schedule: Schedule
    from_start: bool = False

    def masked(self, step: int, steps: int, count: Tensor) -> Tensor:
        """[B] int64 tokens still masked after step `step` (from 0) of `steps`.

        Args:
            step: from 0.
            steps: of the whole run.
            count: [B] int64 tokens that were masked at first.
        """
        known = self.scheduled(step, steps, count).clamp(min=step + 1)
        return (count - known).clamp(min=0)

    def scheduled(self, step: int, steps: int, count: Tensor) -> Tensor:
        """[B] int64 tokens that the schedule alone says are known; arguments as for `masked`."""
        # float32 as in the released samplers, whose linspace rounds otherwise than s / (S - 1)
        ratio = float(torch.linspace(0, 1, steps)[step]) if self.from_start else (step + 1) / steps
        share = torch.tensor(self.schedule.known(ratio), dtype=torch.float32, device=count.device)
        return (share * count).floor().long()


def _checked(ratio: float) -> float:
    if not 0 < ratio <= 1:
        raise ValueError(f"the ratio of steps done must lie in (0, 1], got {ratio}")
    return ratio


def _single(ratio: float) -> Tensor:
    return torch.tensor(ratio, dtype=torch.float32)


def _share(value: Tensor) -> float:
    # cos(pi/2) in float32 is a hair below 0.
    return float(value.clamp(0, 1))
