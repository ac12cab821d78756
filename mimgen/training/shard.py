"""Tensors that FSDP2 has split over ranks: full for a checkpoint or for one part, then split again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn


def full_tensor(tensor: Tensor) -> Tensor:
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


def make_contiguous(module: nn.Module) -> None:
    """Lay every weight out in rows: FSDP2 splits no others, such as kernels kept channels-last."""
    for parameter in module.parameters():
        parameter.data = parameter.data.contiguous()


def is_split(module: nn.Module) -> bool:
    """Whether FSDP2 has split weights of `module` over ranks."""
    return any(hasattr(parameter, "device_mesh") for parameter in module.parameters())


@contextmanager
def gathered(module: nn.Module) -> Iterator[None]:
    """Full weights at the root of a split module, so that its parts may be called without calling it.

    FSDP2 gathers weights when the module that holds them is called. Blocks that are split by themselves do so here
    too, but weights of the root would be met in pieces. A collective call; does nothing where nothing is split.
    """
    root: Any = module if hasattr(module, "unshard") else None
    if root is not None:
        root.unshard()
    try:
        yield
    finally:
        if root is not None:
            root.reshard()
