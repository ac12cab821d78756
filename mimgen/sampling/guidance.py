"""Classifier-free guidance: how strongly, and in which part of the steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from mimgen.errors import UserError


@dataclass(frozen=True)
class Guidance:
    """u + w (c - u) with conditional logits c and unconditional logits u.

    Some papers write c + w (c - u); their w is one smaller than the one meant here.

    Attributes:
        scale: w; 1 is no guidance and makes the conditional pass only.
        interval: part of the steps, as shares of all steps in [0, 1], in which guidance is on; outside
            of it only the conditional pass is made.
        rule: "constant" uses w throughout, "linear" rises from 1 to w with the steps.
    """

    scale: float = 1.0
    interval: tuple[float, float] = (0.0, 1.0)
    rule: Literal["constant", "linear"] = "constant"

    def __post_init__(self) -> None:
        start, end = self.interval
        if not 0 <= start <= end <= 1:
            raise UserError(f"guidance interval {self.interval}: give two ascending shares in [0, 1]")
        if self.rule not in ("constant", "linear"):
            raise UserError(f"guidance rule {self.rule!r}: use 'constant' or 'linear'")

    def weight(self, step: int, steps: int) -> float:
        """w of step `step` (from 0) of `steps`; 1 where guidance is off."""
        start, end = self.interval
        if not start <= step / steps <= end:
            return 1.0
        if self.rule == "linear":
            return 1 + (self.scale - 1) * (step + 1) / steps
        return self.scale


def combine(conditional: Tensor, unconditional: Tensor, weight: float) -> Tensor:
    """u + w (c - u), [..., K] float32."""
    base = unconditional.float()
    return base + weight * (conditional.float() - base)
