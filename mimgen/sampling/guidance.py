"""Classifier-free guidance: how strongly, and in which part of the steps."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

from torch import Tensor

from mimgen.errors import UserError

Rule = Literal["constant", "linear", "linear-from-one", "ramp", "power-cosine"]


@dataclass(frozen=True)
class Guidance:
    """u + w (c - u) with conditional logits c and unconditional logits u.

    Some papers write c + w (c - u); their w is one smaller than the one meant here.

    Attributes:
        scale: w; 1 is no guidance and makes the conditional pass only.
        interval: part of the steps, as shares of all steps in [0, 1], in which guidance is on; outside
            of it only the conditional pass is made.
        rule: "constant" uses w throughout; "linear" rises from just above 1 to w in the last step;
            "linear-from-one" from 1 in the first step, which is unguided, to just below w (TiTok);
            "ramp" from 1 in the first step to w in the last (the confidence sampler of Halton-MaskGIT);
            "power-cosine" from 1 along (1 - cos(pi r^power)) / 2, r the share of steps done (MDT,
            arXiv 2303.14389).
        power: of the rule "power-cosine".
    """

    scale: float = 1.0
    interval: tuple[float, float] = (0.0, 1.0)
    rule: Rule = "constant"
    power: float = 3.0

    def __post_init__(self) -> None:
        start, end = self.interval
        if not 0 <= start <= end <= 1:
            raise UserError(f"guidance interval {self.interval}: give two ascending shares in [0, 1]")
        if self.rule not in get_args(Rule):
            raise UserError(f"guidance rule {self.rule!r}: use one of {', '.join(get_args(Rule))}")

    def weight(self, step: int, steps: int) -> float:
        """w of step `step` (from 0) of `steps`; 1 where guidance is off."""
        start, end = self.interval
        if not start <= step / steps <= end:
            return 1.0
        if self.rule == "constant":
            return self.scale
        return 1 + (self.scale - 1) * self._share(step, steps)

    def _share(self, step: int, steps: int) -> float:
        """How much of w - 1 a rising rule has reached in this step, in [0, 1]."""
        if self.rule == "linear":
            return (step + 1) / steps
        if self.rule == "linear-from-one":
            return step / steps
        if self.rule == "ramp":
            return step / max(1, steps - 1)
        return (1 - math.cos(math.pi * (step / steps) ** self.power)) / 2


def combine(conditional: Tensor, unconditional: Tensor, weight: float) -> Tensor:
    """u + w (c - u), [..., K] float32."""
    base = unconditional.float()
    return base + weight * (conditional.float() - base)
