"""Places in the rows of a batch: which of them are true, and what lies there."""

from __future__ import annotations

import torch
from torch import Tensor


def true_places(flags: Tensor) -> tuple[Tensor, Tensor]:
    """The places at which flags [B, N] is true, as many in each row as the row that has most, the others padded.

    Returns:
        [B, M] int64 places, ascending; padding names further places of the row, none of them twice. And [B, M]
        boolean, false where padded.
    """
    counts = flags.sum(1)
    most = int(counts.max())
    places = torch.argsort((~flags).to(torch.int8), dim=1, stable=True)[:, :most]
    return places, torch.arange(most, device=flags.device) < counts[:, None]


def rows_at(x: Tensor, places: Tensor) -> Tensor:
    """What x [B, T] or [B, T, D] holds at places [B, M]: [B, M] or [B, M, D]."""
    if x.ndim == 2:
        return x.gather(1, places)
    # over one flat axis: whole rows are copied, many times quicker than a gather of single numbers
    return x.flatten(0, 1).index_select(0, flat_places(places, x.shape[1])).unflatten(0, places.shape)


def flat_places(places: Tensor, tokens: int) -> Tensor:
    """Places [B, M] in rows of `tokens` tokens as places [B * M] in the batch."""
    return (places + tokens * torch.arange(len(places), device=places.device)[:, None]).flatten()
