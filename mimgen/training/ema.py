"""The exponential moving average of the trainable weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from mimgen.training.shard import split_like


class Ema:
    """Averaged copies of a module's trainable parameters.

    Buffers and frozen parameters are not averaged; the average uses the live ones.

    Args:
        module: the live module.
        decay: share of the old average kept at each update, reached after a ramp.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self._live = {name: p for name, p in module.named_parameters() if p.requires_grad}
        self.shadow: dict[str, Tensor] = {name: p.detach().clone() for name, p in self._live.items()}

    def decay_at(self, step: int) -> float:
        """min(decay, (1 + step) / (10 + step)), so that short runs forget their initial weights."""
        return min(self.decay, (1 + step) / (10 + step))

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Move the average towards the live weights after optimiser step `step` (counted from 1)."""
        live = [p.detach() for p in self._live.values()]
        torch._foreach_lerp_(list(self.shadow.values()), live, 1 - self.decay_at(step))

    @torch.no_grad()
    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Copy saved averages in; names beyond the averaged ones are ignored."""
        for name, average in self.shadow.items():
            average.copy_(split_like(tensors[name], average))

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Swap the average into the module for the time of the context, bit for bit back after it."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        # Tensor by tensor, so that only one parameter is ever held three times.
        for name, parameter in self._live.items():
            live = parameter.detach().clone()
            parameter.copy_(self.shadow[name])
            self.shadow[name].copy_(live)
