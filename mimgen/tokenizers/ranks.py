"""What quantisers and losses need to be equal on all processes of a run."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor

from mimgen.ops.distributed import all_reduce_sum, world_size


def all_reduce_sum_(tensor: Tensor) -> None:
    """Replace `tensor` (any shape) in place by its sum over the processes.

    Whether the run is distributed is asked at every call, because a tokenizer is usually built
    before the process group is.
    """
    if world_size() > 1:
        dist.all_reduce(tensor)


def all_reduce_mean(tensor: Tensor) -> Tensor:
    """Mean over the processes of a tensor of any shape, with the gradient of the own part.

    Data-parallel training averages gradients over processes, which turns the gradients of the
    parts into the gradient of the common mean.
    """
    if world_size() == 1:
        return tensor
    return tensor + (all_reduce_sum(tensor) / world_size() - tensor).detach()


def pick_rows(samples: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Sample `count` rows out of the rows of all processes together.

    Args:
        samples: [n, D] rows of this process; processes follow each other in rank order, so the
            sample does not depend on how many processes share the rows.
        count: rows to sample, without repetition as long as there are enough of them.
        generator: a CPU generator in the same state on every process.

    Returns:
        [count, D], the same on every process.
    """
    rank = dist.get_rank() if world_size() > 1 else 0
    sizes = torch.zeros(world_size(), dtype=torch.int64, device=samples.device)
    sizes[rank] = len(samples)
    sizes = all_reduce_sum(sizes)
    total = int(sizes.sum())
    if total >= count:
        rows = torch.randperm(total, generator=generator)[:count]
    else:
        rows = torch.randint(total, (count,), generator=generator)
    rows = rows.to(samples.device) - int(sizes[:rank].sum())
    mine = (rows >= 0) & (rows < len(samples))
    picked = samples.new_zeros(count, samples.shape[1])  # [count, D]
    picked[mine] = samples[rows[mine]]
    return all_reduce_sum(picked)  # each row is filled on one process and 0 on the others
