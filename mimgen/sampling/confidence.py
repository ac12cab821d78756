"""Confidence re-masking as pure functions of given uniform numbers.

The arithmetic is that of the released Meissonic scheduler (the rule of MaskGIT, section 3.2): float32
throughout, a mask length that is floored and clipped for each row, Gumbel noise on log p. `unmask` uses
the same functions; `scheduler_step` is the released step as a whole.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mimgen.ops.gumbel import gumbel, log_clamped, sample_by_inverse_cdf
from mimgen.sampling.schedules import Schedule


@dataclass(frozen=True)
class Step:
    """What one re-masking step returns.

    Attributes:
        tokens: [B, N] or [B, h, w] int64, the mask id where still masked.
        filled: the same shape, every position filled.
    """

    tokens: Tensor
    filled: Tensor


def choice_temperatures(temperature: float | tuple[float, float], steps: int) -> Tensor:
    """[steps] float32: from a to b for a pair, from t to 0.01 for a single number."""
    start, end = temperature if isinstance(temperature, (tuple, list)) else (temperature, 0.01)
    return torch.linspace(start, end, steps)


def masked_length(
    schedule: Schedule,
    step: int,
    steps: int,
    count: int | Tensor,
    unknown: Tensor,
    starting_mask_ratio: float = 1.0,
) -> Tensor:
    """How many tokens stay masked after step `step` (from 0), which is not the last one.

    floor(count * share), at most one fewer than are masked now, at least one.

    Args:
        schedule: share still masked.
        step: from 0.
        steps: of the whole run.
        count: tokens that the schedule is a share of, one number or [B].
        unknown: [B] int64 tokens masked now.
        starting_mask_ratio: multiplies the share (inpainting: the part that was masked at first).

    Returns:
        [B] int64.
    """
    share = torch.tensor(schedule((step + 1) / steps)) * starting_mask_ratio
    scheduled = (share.to(unknown.device) * count).floor().long()
    # every step reveals at least one token and leaves one for the last
    return torch.minimum(scheduled, unknown - 1).clamp(min=1)


def confidence(probabilities: Tensor, temperature: Tensor | float, uniform: Tensor) -> Tensor:
    """log p + temperature * Gumbel(u), [B, N] float32 from [B, N] probabilities and uniform numbers."""
    return log_clamped(probabilities.float()) + temperature * gumbel(uniform)


def mask_by_random_topk(
    length: Tensor, probabilities: Tensor, temperature: Tensor | float, uniform: Tensor
) -> Tensor:
    """[B, N] boolean: the positions strictly below the `length`-th confidence (from 0) are masked again.

    Args:
        length: [B] int64, each at least 1.
        probabilities: [B, N] of the generated tokens; the largest float protects a known token.
        temperature: of the Gumbel noise.
        uniform: [B, N] numbers in [0, 1] of the Gumbel noise.
    """
    scores = confidence(probabilities, temperature, uniform)
    cut_off = scores.sort(1).values.gather(1, length.clamp(max=scores.shape[1] - 1)[:, None])  # [B, 1]
    return scores < cut_off


def scheduler_step(
    logits: Tensor,
    tokens: Tensor,
    *,
    step: int,
    steps: int,
    mask_id: int,
    schedule: Schedule,
    temperature: Tensor | float,
    token_uniform: Tensor,
    choice_uniform: Tensor,
    starting_mask_ratio: float = 1.0,
) -> Step:
    """One step of the released Meissonic scheduler from given uniform numbers.

    Args:
        logits: [B, N, K], or [B, K, h, w] with tokens [B, h, w].
        tokens: [B, N] or [B, h, w] int64; known tokens are kept.
        step: from 0; the last step fills everything without re-masking.
        steps: of the sampling.
        mask_id: id of a token that is still masked.
        schedule: share of the tokens that stay masked, over the share of the steps done.
        temperature: of the Gumbel noise in this step.
        token_uniform: [B * N] in (0, 1) for sampling the tokens by the inverse of their distribution function.
        choice_uniform: [B, N] in (0, 1) for the Gumbel noise.
        starting_mask_ratio: multiplies the share of the schedule.
    """
    flat = tokens.flatten(1)  # [B, N]
    if tokens.ndim == 3:
        logits = logits.flatten(2).transpose(1, 2)  # [B, N, K]
    unknown = flat == mask_id
    probabilities = logits.float().softmax(-1)
    sampled = sample_by_inverse_cdf(probabilities, token_uniform.view(flat.shape))
    filled = torch.where(unknown, sampled, flat)
    if step == steps - 1:
        return Step(filled.view(tokens.shape), filled.view(tokens.shape))
    chosen = probabilities.gather(-1, filled.clamp(max=probabilities.shape[-1] - 1)[..., None])[..., 0]
    # known tokens get the largest confidence and so stay
    chosen = torch.where(unknown, chosen, torch.finfo(torch.float32).max)
    length = masked_length(schedule, step, steps, flat.shape[1], unknown.sum(1), starting_mask_ratio)
    masked = mask_by_random_topk(length, chosen, temperature, choice_uniform)
    remasked = torch.where(masked, mask_id, filled)
    return Step(remasked.view(tokens.shape), filled.view(tokens.shape))
