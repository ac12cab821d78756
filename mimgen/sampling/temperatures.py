"""Temperatures over the steps: how freely tokens are sampled, or how noisy their confidence is.

Each is a frozen dataclass whose `at` gives the temperature of one step.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch

from mimgen.errors import UserError


class Temperature(Protocol):
    """The interface of every temperature."""

    def at(self, step: int, steps: int) -> float:
        """Temperature, at least 0, of step `step` (from 0) of `steps`."""
        ...


@dataclass(frozen=True)
class Ramp:
    """From `start` in the first step to `end` in the last, in equal parts.

    Attributes:
        start: in the first step, and where there is only one.
        end: in the last step.
    """

    start: float
    end: float

    def at(self, step: int, steps: int) -> float:
        """Temperature of step `step` (from 0) of `steps`."""
        # float32 as in the released samplers
        return float(torch.linspace(self.start, self.end, steps)[step])


@dataclass(frozen=True)
class Falling:
    """end + (start - end) (1 - (s + 1) / S): already below `start` in the first step (MAGE, TiTok).

    Attributes:
        start: what the temperature falls from.
        end: in the last step.
    """

    start: float
    end: float = 0.0

    def at(self, step: int, steps: int) -> float:
        """Temperature of step `step` (from 0) of `steps`."""
        return self.end + (self.start - self.end) * (1 - (step + 1) / steps)


@dataclass(frozen=True)
class Sharpening:
    """1 / m where m, the factor on the logits, runs from `start` to `end` (Halton-MaskGIT).

    Attributes:
        start: factor in the first step, above 0.
        end: factor in the last step, above 0.
        power: m is raised to it.
        warmup: number of first steps in which m is halved: the first tokens are sampled more freely.
    """

    start: float = 1.0
    end: float = 1.0
    power: float = 1.0
    warmup: int = 0

    def __post_init__(self) -> None:
        if self.start <= 0 or self.end <= 0:
            raise UserError(f"factors {self.start}, {self.end} on the logits: give numbers above 0")

    def at(self, step: int, steps: int) -> float:
        """Temperature of step `step` (from 0) of `steps`."""
        factor = float(torch.linspace(self.start, self.end, steps)[step] ** self.power)
        return 1 / (0.5 * factor if step < self.warmup else factor)
