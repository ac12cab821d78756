"""One optimiser step: micro-batches forward and backward, clip, move, average."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from mimgen.training.ema import Ema
from mimgen.training.objective import Trainable
from mimgen.training.optim import clip_gradients, clip_groups, set_lr
from mimgen.training.precision import autocast
from mimgen.types import Batch, Losses

if TYPE_CHECKING:
    from accelerate import Accelerator


@dataclass(frozen=True)
class Outcome:
    """What a step reports, equal on every rank.

    Attributes:
        scalars: "loss", the terms and the metrics, averaged over micro-batches and ranks.
        grad_norm: norm before clipping.
        finite: false when the step was skipped.
        stop: true when any rank was asked to stop.
    """

    scalars: dict[str, float]
    grad_norm: float
    finite: bool
    stop: bool


class Stepper:
    """Makes the steps of a run.

    Args:
        accelerator: device, processes, backward.
        model: the objective as wrapped by accelerate.
        objective: the same objective, unwrapped.
        optimizer: over the objective's parameters.
        ema: over the same parameters.
        precision: "fp32" or "bf16".
        clip: largest gradient norm of a group.
    """

    def __init__(
        self,
        accelerator: Accelerator,
        model: nn.Module,
        objective: Trainable,
        optimizer: torch.optim.Optimizer,
        ema: Ema,
        precision: str,
        clip: float,
    ) -> None:
        self.accelerator, self.model, self.objective = accelerator, model, objective
        self.optimizer, self.ema = optimizer, ema
        self.precision, self.clip = precision, clip
        self.groups = clip_groups(objective)

    def __call__(self, batches: Sequence[Batch], step: int, lr: float, requested: Callable[[], bool]) -> Outcome:
        """Make step `step` (counted from 1), or skip it when a loss or gradient is not finite.

        Args:
            batches: this rank's micro-batches.
            step: its number.
            lr: its learning rate.
            requested: whether this rank was asked to stop; called once the gradients are there.
        """
        # A bad batch also spoils running statistics and codebooks, which no optimiser step guards.
        buffers = [buffer.clone() for buffer in self.objective.buffers()]
        scalars, finite, stop = self._reduce(self._backward(batches), requested())
        norm = clip_gradients(self.groups, self.clip)
        finite = finite and math.isfinite(norm)
        if finite:
            set_lr(self.optimizer, lr)
            self.optimizer.step()
            self.ema.update(step)
            self.objective.after_step(step)
        else:
            for buffer, before in zip(self.objective.buffers(), buffers, strict=True):
                buffer.copy_(before)
        return Outcome(scalars, norm, finite, stop)

    def _backward(self, batches: Sequence[Batch]) -> dict[str, Tensor]:
        """Accumulate gradients; returns this rank's scalars, averaged over the micro-batches."""
        self.optimizer.zero_grad(set_to_none=True)
        device = self.accelerator.device
        collected: dict[str, list[Tensor]] = {}
        for number, batch in enumerate(batches, start=1):
            # DDP reduces gradients over ranks in backward: once, with the last micro-batch
            alone = number < len(batches)
            with self.accelerator.no_sync(self.model) if alone else nullcontext():
                with autocast(self.precision, device):
                    losses: Losses = self.model(to_device(batch, device))
                total = losses.total
                self.accelerator.backward(total / len(batches))
            # in front for its place in the log, and again behind so that no term of that name replaces it
            named = {"loss": total, **losses.terms, **losses.metrics} | {"loss": total}
            for name, value in named.items():
                collected.setdefault(name, []).append(torch.as_tensor(value, device=device).detach().float())
        return {name: torch.stack(values).mean() for name, values in collected.items()}

    def _reduce(self, local: Mapping[str, Tensor], requested: bool) -> tuple[dict[str, float], bool, bool]:
        """Average over ranks in one message; (scalars, all finite, any rank asked to stop)."""
        flags = [~torch.isfinite(local["loss"]), torch.tensor(requested, device=self.accelerator.device)]
        packed = torch.stack([*(flag.float() for flag in flags), *local.values()])
        if self.accelerator.num_processes > 1:
            packed = self.accelerator.reduce(packed, reduction="mean")
        bad, stop, *values = packed.tolist()  # one transfer: the device is waited for once per step
        return dict(zip(local, values, strict=True)), bad == 0, stop > 0


def to_device(batch: Batch, device: torch.device) -> Batch:
    """The batch with all its tensors on `device`; samples stay on the CPU, where they are exact."""
    if device.type == "cpu":
        return batch
    return dataclasses.replace(
        batch,
        **{field.name: _move(getattr(batch, field.name), device) for field in dataclasses.fields(batch)},
    )


def _move(value: Any, device: torch.device) -> Any:
    if isinstance(value, Tensor):
        return value.to(device, non_blocking=True)
    if isinstance(value, Mapping):
        return {name: _move(item, device) for name, item in value.items()}
    return value
