"""Blocks through torch.compile."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import nn


def called(block: nn.Module, compile: bool) -> Callable[..., Any]:
    """The block, compiled if asked for; the block itself is left as it is.

    One compiled function serves all blocks of a kind, whose weights are its arguments (from PyTorch 2.5 on; before,
    every block is compiled for itself). It is kept until the process ends, with all that it was specialised to: another
    pipeline of such blocks need not wait for the compiler.
    """
    return functools.partial(_compiled(type(block).forward), block) if compile else block


@functools.cache
def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    return torch.compile(function)
