"""In how many directions points spread, from their singular values."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["effective_rank", "stable_rank"]


def effective_rank(values: Tensor) -> Tensor:
    """exp of the entropy of the singular values' shares (Roy and Vetterli, 2007).

    Args:
        values: [..., R] singular values, not negative.

    Returns:
        [...] in [1, R]: R where all are equal, 1 where one is left; 0 where all are zero (constant points).
    """
    shares = values / values.sum(-1, keepdim=True).clamp(min=torch.finfo(values.dtype).tiny)
    rank = torch.special.entr(shares).sum(-1).exp()
    return torch.where(values.sum(-1) > 0, rank, 0.0)


def stable_rank(values: Tensor) -> Tensor:
    """Sum of the squared singular values over the largest square (Rudelson and Vershynin, 2007).

    Args:
        values: [..., R] singular values, not negative.

    Returns:
        [...] in [1, R], at most the rank and blind to small directions; 0 where all values are zero.
    """
    squares = values.square()
    return squares.sum(-1) / squares.amax(-1).clamp(min=torch.finfo(values.dtype).tiny)
