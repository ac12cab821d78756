"""Positions in the rows of a batch: which of them are true, and what lies there."""

from __future__ import annotations

import torch
from torch import Tensor


def padded_nonzero(flags: Tensor) -> tuple[Tensor, Tensor]:
    """The positions at which flags [B, N] is true, padded to the number of the row that has most.

    Returns:
        [B, M] int64 positions, ascending; padding names further positions of the row, none of them twice. And [B, M]
        boolean, false where padded.
    """
    counts = flags.sum(1)
    maximum = int(counts.max())
    positions = torch.argsort((~flags).to(torch.int8), dim=1, stable=True)[:, :maximum]
    return positions, torch.arange(maximum, device=flags.device) < counts[:, None]


def gather_tokens(x: Tensor, positions: Tensor) -> Tensor:
    """What x [B, T] or [B, T, D] holds at positions [B, M]: [B, M] or [B, M, D]."""
    if x.ndim == 2:
        return x.gather(1, positions)
    # over one flat axis: whole rows are copied, many times quicker than a gather of single numbers
    return x.flatten(0, 1).index_select(0, flat_index(positions, x.shape[1])).unflatten(0, positions.shape)


def flat_index(positions: Tensor, tokens: int) -> Tensor:
    """Positions [B, M] in rows of `tokens` tokens as positions [B * M] in the batch."""
    return (positions + tokens * torch.arange(len(positions), device=positions.device)[:, None]).flatten()
