"""What happens when a loss or a gradient is no longer a number."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mimgen.errors import UserError
from mimgen.types import Batch

_TOTAL_FACTOR = 10  # times `limit`: skipped steps in all that end a run


class Guard:
    """Counts skipped steps.

    The run stops after `limit` skipped steps in a row, or ten times `limit` in all: a lone spike
    of a long run is survived, a model that diverged or fails every few steps is not.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.consecutive = 0
        self.total = 0

    def state(self) -> dict[str, int]:
        """The counters, for the checkpoint."""
        return {"consecutive": self.consecutive, "total": self.total}

    def load(self, state: Mapping[str, int]) -> None:
        """Take the counters of a checkpoint."""
        self.consecutive, self.total = state["consecutive"], state["total"]

    def passed(self) -> None:
        """Note a healthy step."""
        self.consecutive = 0

    def skipped(self) -> bool:
        """Note a skipped step; true when the run has to stop."""
        self.consecutive += 1
        self.total += 1
        return self.consecutive >= self.limit or self.total >= self.limit * _TOTAL_FACTOR


def find_non_finite(objective: nn.Module, scalars: Mapping[str, float]) -> str:
    """Name what is not finite: the loss terms, else the first gradients."""
    if not math.isfinite(scalars["loss"]):
        terms = [name for name, value in scalars.items() if name != "loss" and not math.isfinite(value)]
        return " ".join(["loss", ", ".join(terms)]).strip()
    bad = [
        name
        for name, parameter in objective.named_parameters()
        if parameter.grad is not None and not bool(torch.isfinite(parameter.grad).all())
    ]
    more = f" and {len(bad) - 3} more" if len(bad) > 3 else ""
    return "gradient of " + ", ".join(bad[:3]) + more if bad else "gradient norm"


def save_batch(folder: Path, step: int, rank: int, batches: Sequence[Batch], cause: str) -> Path:
    """Write the micro-batches of a step to `<folder>/non_finite/` as safetensors.

    Tensors are named "<micro-batch>.<field>"; captions, keys and the seeds of `rng` are JSON in
    the file's metadata, so the step can be replayed.
    """
    from safetensors.torch import save_file

    tensors: dict[str, Tensor] = {}
    words: dict[str, Any] = {"step": step, "rank": rank, "cause": cause}
    for number, batch in enumerate(batches):
        for field in dataclasses.fields(batch):
            _sort(f"{number}.{field.name}", getattr(batch, field.name), tensors, words)
    path = folder / "non_finite" / f"step-{step:08d}-rank-{rank}.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path, metadata={name: json.dumps(value) for name, value in words.items()})
    return path


def _sort(name: str, value: Any, tensors: dict[str, Tensor], words: dict[str, Any]) -> None:
    if isinstance(value, Tensor):
        tensors[name] = value.detach().cpu().contiguous().clone()
    elif isinstance(value, Mapping):
        for key, item in value.items():
            _sort(f"{name}.{key}", item, tensors, words)
    elif hasattr(value, "seeds"):
        words[f"{name}.seeds"] = list(value.seeds)
    elif isinstance(value, tuple):
        words[name] = list(value)


def stop(step: int, guard: Guard, cause: str, path: Path) -> UserError:
    """The error that ends the run."""
    return UserError(
        f"training stopped at step {step}: the {cause} is not finite "
        f"({guard.consecutive} steps in a row, {guard.total} in all were skipped). "
        f"The last batch is in {path}. Lower base_lr or clip, use precision=fp32, or look at that batch; "
        "the newest checkpoint is untouched"
    )
