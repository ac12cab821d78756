"""The teacher of self-distillation: a slow moving average of the student."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from mimgen.errors import UserError


@dataclass(frozen=True)
class Momentum:
    """Share of the teacher that an update keeps, rising from `start` to `end` by half a cosine (BYOL, section 3.2).

    Attributes:
        start: at the first step.
        end: from step `steps` on.
        steps: length of the rise; 0 for `end` at once.
        linear: rise evenly instead.

    Raises:
        UserError: a momentum outside 0..1.
    """

    start: float = 0.996
    end: float = 1.0
    steps: int = 0
    linear: bool = False

    def __post_init__(self) -> None:
        if not (0 <= self.start <= 1 and 0 <= self.end <= 1):
            raise UserError(f"momentum {self.start} to {self.end}: both lie between 0 and 1")

    def __call__(self, step: int) -> float:
        """The momentum after optimiser step `step`, counted from 1."""
        if step >= self.steps:
            return self.end
        share = (step - 1) / self.steps
        risen = share if self.linear else 0.5 * (1 - math.cos(math.pi * share))
        return self.start + (self.end - self.start) * risen


class MovingAverage(nn.Module):
    """A copy of a module that has no gradient and follows the original slowly.

    Parameters move by (1 - momentum) of the difference at each update; buffers (statistics of batch norms) are
    copied. The copy is part of the state dict, so a run that is resumed has the same teacher. It stays in
    evaluation mode: it drops no path, and its batch norms use the student's statistics.

    Args:
        module: the student's network, copied as it is now.
        momentum: of an update.
    """

    def __init__(self, module: nn.Module, momentum: Momentum) -> None:
        super().__init__()
        self.module = copy.deepcopy(module).requires_grad_(False)
        self.momentum = momentum
        self.eval()

    def train(self, mode: bool = True) -> MovingAverage:
        """Evaluation mode, whatever is asked for."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, *inputs: Any, **options: Any) -> Any:
        """What the teacher says, without gradient."""
        return self.module(*inputs, **options)

    @torch.no_grad()
    def update(self, student: nn.Module, step: int) -> None:
        """Follow `student` after optimiser step `step`, counted from 1."""
        share = 1 - self.momentum(step)
        mine, theirs = list(self.module.parameters()), [p.detach() for p in student.parameters()]
        torch._foreach_lerp_([p.data for p in mine], theirs, share)
        for own, other in zip(self.module.buffers(), student.buffers(), strict=True):
            own.copy_(other)
