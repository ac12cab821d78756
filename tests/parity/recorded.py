"""Recorded random numbers in the place of sampled ones, and an order in the place of a computed one."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mimgen.types import SampleRNG


class FixedRNG(SampleRNG):
    """Streams for `unmask` that give what an official sampler drew.

    Args:
        token: [S, B, N] uniform numbers of the tokens, for each of S steps.
        choice: [S, B, N] uniform numbers of the Gumbel noise on the confidence; 0.5 where there are none.
        codes: [S, B, N, K] uniform numbers of every code, where the tokens are sampled by Gumbel noise.
    """

    def __init__(self, token: Tensor, choice: Tensor | None = None, codes: Tensor | None = None) -> None:
        super().__init__([0] * token.shape[1])
        both = torch.stack([token, torch.full_like(token, 0.5) if choice is None else choice], dim=2)
        by_step = [both] if codes is None else [both, codes]
        self._numbers = (numbers[step] for step in range(len(token)) for numbers in by_step)

    def uniform(self, *shape: int) -> Tensor:
        """[B, 2, N] of the next step, then its [B, N, K] if there are numbers of every code."""
        return next(self._numbers)


@dataclass(frozen=True)
class RecordedOrder:
    """An order that was computed or sampled beforehand.

    Attributes:
        ranks: [B, N] int64, 0 is revealed first.
    """

    ranks: Tensor

    def plan(self, grid: tuple[int, int], rng: SampleRNG) -> Tensor:
        """The ranks."""
        return self.ranks
