"""The learning rate as a pure function of the step, so that a resumed run needs no state for it."""

from __future__ import annotations

import math


def learning_rate(step: int, *, peak: float, steps: int, warmup: int, min_ratio: float = 0.0) -> float:
    """Linear warm-up, then a half cosine (Loshchilov & Hutter 2017, eq. 5, one period).

    Args:
        step: number of steps already made; step 0 gives the first, non-zero rate.
        peak: rate at the end of the warm-up.
        steps: steps of the whole run; at and after it the rate stays at `peak * min_ratio`.
        warmup: steps of the warm-up.
        min_ratio: share of `peak` where the cosine ends.
    """
    if step < warmup:
        return peak * (step + 1) / (warmup + 1)
    progress = min(1.0, (step - warmup) / max(1, steps - warmup))
    return peak * (min_ratio + (1 - min_ratio) * 0.5 * (1 + math.cos(math.pi * progress)))
