"""Reductions over the processes of a run; the identity when there is one process."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor


def world_size() -> int:
    """Number of processes, 1 outside a distributed run."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def all_reduce_sum(value: Tensor) -> Tensor:
    """The sum of `value` over all processes, without gradient."""
    value = value.detach().clone()
    if world_size() > 1:
        dist.all_reduce(value)
    return value


def distributed_mean(total: Tensor, count: Tensor) -> Tensor:
    """A mean whose normaliser is shared by all processes.

    Averaging the result over processes (as data-parallel training does with gradients) gives
    sum(total) / sum(count), the same as one process with the whole batch, even where processes
    hold different counts.

    Args:
        total: scalar sum over this process's items, with gradient.
        count: scalar number of this process's items.
    """
    return total * world_size() / all_reduce_sum(count.to(total)).clamp(min=1)


def gather_rows(rows: Tensor) -> Tensor:
    """Concatenate [B, ...] of all processes along the first dimension, without gradient."""
    if world_size() == 1:
        return rows.detach()
    parts = [torch.empty_like(rows) for _ in range(world_size())]
    dist.all_gather(parts, rows.detach().contiguous())
    return torch.cat(parts)
