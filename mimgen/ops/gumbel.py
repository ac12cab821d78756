"""Gumbel noise and samples from uniform numbers, as pure functions."""

from __future__ import annotations

import torch
from torch import Tensor

# Logarithms are taken of nothing smaller, so that a uniform number of exactly 0 or 1 stays finite.
SMALLEST = 1e-20


def log_clamped(values: Tensor) -> Tensor:
    """Logarithm of `values`, any shape, clamped below at 1e-20."""
    return values.clamp(min=SMALLEST).log()


def gumbel(uniform: Tensor) -> Tensor:
    """Standard Gumbel noise -log(-log u) from uniform numbers in [0, 1], any shape."""
    return -log_clamped(-log_clamped(uniform))


def sample_by_inverse_cdf(probabilities: Tensor, uniform: Tensor) -> Tensor:
    """Sample one category per row: the number of entries of the cumulative sum below the uniform number.

    One uniform number per row is enough, so the sample of a row depends on nothing but that number.

    Args:
        probabilities: [..., K] non-negative, each row sums to 1.
        uniform: [...] in [0, 1).

    Returns:
        [...] int64 in 0 .. K-1.
    """
    cumulative = probabilities.cumsum(-1)
    sampled = torch.searchsorted(cumulative, uniform.to(cumulative.dtype).unsqueeze(-1).contiguous())
    # Rounding may leave even the last sum below the uniform number.
    return sampled.squeeze(-1).clamp(max=probabilities.shape[-1] - 1)
