"""LARS: momentum whose step is scaled, tensor by tensor, to the length of the weights."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

__all__ = ["Lars"]


class Lars(torch.optim.Optimizer):
    """Layer-wise adaptive rate scaling (You et al. 2017, algorithm 1), as used for linear probes.

    For a tensor w with gradient g: u = g + weight_decay * w, r = trust * |w| / |u| (1 where either
    length is 0), v = momentum * v + r * u, w = w - lr * v. Biases and other tensors with fewer than two
    dimensions get neither decay nor scaling, so r * u = g.

    Args:
        parameters: tensors or groups.
        lr: learning rate; large, since `trust` makes steps small.
        weight_decay: added to the gradient of matrices.
        momentum: share of the last step that is kept.
        trust: length of a step at lr 1, as a share of the length of the weights.
    """

    def __init__(
        self,
        parameters: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float,
        weight_decay: float = 0.0,
        momentum: float = 0.9,
        trust: float = 0.001,
    ) -> None:
        for name, value in (("lr", lr), ("weight_decay", weight_decay), ("momentum", momentum), ("trust", trust)):
            if value < 0:
                raise ValueError(f"LARS: {name} must not be negative, got {value}")
        defaults = {"lr": lr, "weight_decay": weight_decay, "momentum": momentum, "trust": trust}
        super().__init__(parameters, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Move every parameter that has a gradient; returns what `closure`, if given, returns."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._move(parameter, group)
        return loss

    def _move(self, parameter: Tensor, group: dict[str, Any]) -> None:
        update = parameter.grad
        assert update is not None
        if parameter.ndim > 1:
            update = update.add(parameter, alpha=group["weight_decay"])
            length, size = parameter.norm(), update.norm()
            scaled = group["trust"] * length / size
            update = update * torch.where((length > 0) & (size > 0), scaled, torch.ones_like(scaled))
        state = self.state[parameter]
        if "velocity" not in state:
            state["velocity"] = torch.zeros_like(parameter)
        state["velocity"].mul_(group["momentum"]).add_(update)
        parameter.add_(state["velocity"], alpha=-group["lr"])
