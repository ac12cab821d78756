"""Reductions over processes; the two-process cases run in tests/training."""

import torch

from mimgen.ops.distributed import all_reduce_sum, distributed_mean, gather_rows, world_size


def test_one_process_is_the_identity() -> None:
    value = torch.tensor([2.0, 3.0], requires_grad=True)
    assert world_size() == 1
    assert torch.equal(all_reduce_sum(value), value) and not all_reduce_sum(value).requires_grad
    assert torch.equal(gather_rows(value), value)


def test_mean_keeps_the_gradient() -> None:
    total = torch.tensor(6.0, requires_grad=True)
    mean = distributed_mean(total, torch.tensor(4))
    assert mean.item() == 1.5
    mean.backward()
    assert total.grad is not None and total.grad.item() == 0.25
    assert distributed_mean(total, torch.tensor(0)).item() == 6.0
