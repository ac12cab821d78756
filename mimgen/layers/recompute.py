"""Gradient checkpointing: blocks that keep their inputs only and compute again in the backward pass."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint


def recompute(blocks: Iterable[nn.Module]) -> None:
    """Make `blocks` forget in training what they computed between their inputs and outputs (Chen et al., 2016).

    Memory falls to the inputs of each block and the inside of one; a step costs one forward pass more. Gradients are
    the same bit for bit. Parameters keep their names, and nothing changes where no gradient is asked for.

    Args:
        blocks: changed in place; a block that was changed before stays as it is.
    """
    for block in blocks:
        if "forward" not in vars(block):
            block.forward = functools.partial(_forward, block.forward)  # type: ignore[method-assign]


def _forward(forward: Callable[..., Any], *inputs: Any, **named: Any) -> Any:
    if not torch.is_grad_enabled():
        return forward(*inputs, **named)
    return checkpoint(forward, *inputs, use_reentrant=False, **named)
