"""Learning rate and weight decay as pure functions of the step, so that a resumed run needs no state for them."""

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
    # over warmup + 1, so that neither the first step has rate 0 nor the last of the warm-up the peak twice
    if step < warmup:
        return peak * (step + 1) / (warmup + 1)
    progress = min(1.0, (step - warmup) / max(1, steps - warmup))
    return peak * (min_ratio + (1 - min_ratio) * 0.5 * (1 + math.cos(math.pi * progress)))


def weight_decay(step: int, *, start: float, end: float, steps: int) -> float:
    """From `start` to `end` by half a cosine over the whole run (DINO, section 3.2); `step` steps are made."""
    return end + (start - end) * 0.5 * (1 + math.cos(math.pi * min(1.0, step / max(1, steps))))
