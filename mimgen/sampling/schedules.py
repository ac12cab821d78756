"""Unmasking schedules: which share of the tokens is still masked after a part of the steps.

A schedule is a frozen dataclass called with the ratio of steps done, in (0, 1], and returns the share
still masked, in [0, 1]; it falls and ends at 0. Arithmetic is float32 because the released samplers
use it: at a ratio such as 2/3 a cosine of 0.5 decides whether one token more stays masked.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch


class Schedule(Protocol):
    """The interface of every schedule."""

    def __call__(self, ratio: float) -> float:
        """Share still masked, in [0, 1], when `ratio`, in (0, 1], of the steps is done."""
        ...


@dataclass(frozen=True)
class Cosine:
    """cos(pi r / 2): few tokens first, many at the end (MaskGIT, section 3.2)."""

    def __call__(self, ratio: float) -> float:
        """Share still masked, in [0, 1], when `ratio`, in (0, 1], of the steps is done."""
        return _share(torch.cos(_single(ratio) * (math.pi / 2)))


@dataclass(frozen=True)
class Linear:
    """1 - r: the same number of tokens in every step."""

    def __call__(self, ratio: float) -> float:
        """Share still masked, in [0, 1], when `ratio`, in (0, 1], of the steps is done."""
        return _share(1 - _single(ratio))


@dataclass(frozen=True)
class Arccos:
    """arccos(r) / (pi / 2): many tokens at both ends (Halton-MaskGIT, TiTok)."""

    def __call__(self, ratio: float) -> float:
        """Share still masked, in [0, 1], when `ratio`, in (0, 1], of the steps is done."""
        return _share(torch.arccos(_single(ratio)) / (math.pi / 2))


def _single(ratio: float) -> torch.Tensor:
    if not 0 < ratio <= 1:
        raise ValueError(f"the ratio of steps done must lie in (0, 1], got {ratio}")
    return torch.tensor(ratio, dtype=torch.float32)


def _share(value: torch.Tensor) -> float:
    # cos(pi/2) in float32 is a hair below 0.
    return float(value.clamp(0, 1))
