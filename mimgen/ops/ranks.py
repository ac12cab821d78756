"""Ranks of matrices, from their singular values, and of numbers, by their order."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["effective_rank", "rank_correlation", "stable_rank"]


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


def rank_correlation(pairs: Sequence[tuple[float, float]]) -> float:
    """Spearman's coefficient of pairs in [-1, 1]; 0 where one side is constant."""
    ranks = [_ranks([pair[side] for pair in pairs]) for side in (0, 1)]
    x, y = (torch.tensor(values, dtype=torch.float64) for values in ranks)
    x, y = x - x.mean(), y - y.mean()
    scale = float((x.square().sum() * y.square().sum()).sqrt())
    return float((x * y).sum()) / scale if scale else 0.0


def _ranks(values: Sequence[float]) -> list[float]:
    """Positions in ascending order, ties sharing their mean."""
    ordered = sorted(values)
    return [ordered.index(value) + (ordered.count(value) - 1) / 2 for value in values]
