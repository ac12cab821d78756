"""Tensors that FSDP2 has split over ranks: whole for a checkpoint, split again after it."""

from __future__ import annotations

from typing import Any

from torch import Tensor


def whole(tensor: Tensor) -> Tensor:
    """The full tensor; a collective call for a split one, so every rank has to make it."""
    full = getattr(tensor, "full_tensor", None)
    return tensor if full is None else full()


def split_like(tensor: Tensor, pattern: Any) -> Tensor:
    """A full tensor on the device of `pattern`, and split over ranks as it is."""
    tensor = tensor.to(pattern.device)
    if not hasattr(pattern, "device_mesh"):
        return tensor
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(tensor, pattern.device_mesh, pattern.placements)
