"""Recorded random numbers in the place of sampled ones, and an order in the place of a computed one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mimgen.types import SampleRNG

NEVER = (0.0, 1e3, 0.0, 0.0)  # a try whose aspect is infinite

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


class RecordedUniform(SampleRNG):
    """Streams for a masking strategy that give recorded numbers, one tensor [B, ...] for each call of `uniform`.

    A strategy that asks for other numbers than those of the official code raises an error.
    """

    def __init__(self, *numbers: Tensor) -> None:
        super().__init__([0] * len(numbers[0]))
        self._numbers = iter(numbers)

    def uniform(self, *shape: int) -> Tensor:
        """[B, *shape], the next recorded tensor."""
        found = next(self._numbers)
        if found.shape[1:] != shape:
            raise ValueError(f"numbers [B, *{shape}] were asked for, but the next recorded are {list(found.shape)}")
        return found


def padded_tries(tries: Sequence[Sequence[Tensor]], length: int) -> Tensor:
    """[B, length, 4] float64: each row's tries [4] of a block mask, then ones whose rectangle fits in no grid."""
    padded = torch.tensor(NEVER, dtype=torch.float64).repeat(len(tries), length, 1)
    for row, found in zip(padded, tries, strict=True):
        if found:
            row[: len(found)] = torch.stack(list(found))
    return padded


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
