"""Settings of a training run, and its result."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from mimgen.errors import UserError
from mimgen.types import Batch

# Settings that may change between two starts of one run: they move no weight before the step
# they name. (A larger `steps` stretches the rest of the cosine; the steps already made stay.)
FREE = frozenset(
    {"steps", "time_limit", "log_every", "save_every", "sample_every", "keep", "tracker", "non_finite_limit"}
)


class Batches(Protocol):
    """A source of batches whose order is a pure function of the step."""

    def stream(
        self, start_step: int, *, rank: int = 0, world: int = 1, accumulation: int = 1
    ) -> Iterator[list[Batch]]:
        """Yield, for every step from `start_step` on, this rank's `accumulation` micro-batches."""
        ...


@dataclass(frozen=True)
class Settings:
    """Settings of `fit`.

    Attributes:
        steps: optimiser steps of the whole run.
        batch_size: images per step, over all processes and micro-batches.
        accumulation: micro-batches per step on each process.
        base_lr: learning rate for 256 images; the effective one is base_lr * batch_size / 256.
        warmup: steps of linear warm-up.
        min_lr_ratio: share of the effective learning rate at which the cosine ends.
        weight_decay: decoupled decay of matrices and kernels (not of biases, norms, embeddings).
        weight_decay_end: reached by half a cosine at the last step (DINO, iBOT); None keeps the decay as it is.
        betas: AdamW's two decays.
        clip: largest gradient norm of a clipping group; 0 turns clipping off.
        ema: decay of the averaged weights; 0 keeps them equal to the live ones.
        precision: "fp32", "bf16" (autocast), or "auto": bf16 where the device has instructions for it.
        seed: seed of torch's global generator (dropout); data and noise come from the batches.
        log_every: steps averaged into one line of log.jsonl.
        save_every: steps between checkpoints.
        sample_every: steps between image grids.
        keep: checkpoints kept.
        non_finite_limit: skipped steps in a row after which the run stops (or ten times as many in all).
        time_limit: seconds after which the run saves a checkpoint and stops; None for no limit.
        tracker: "tensorboard", "wandb" or "none"; log.jsonl is always written.
    """

    steps: int
    batch_size: int = 64
    accumulation: int = 1
    base_lr: float = 1e-4
    warmup: int = 100
    min_lr_ratio: float = 0.0
    weight_decay: float = 0.05
    betas: tuple[float, float] = (0.9, 0.99)
    clip: float = 1.0
    ema: float = 0.999
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    seed: int = 0
    log_every: int = 10
    save_every: int = 200
    sample_every: int = 200
    keep: int = 2
    non_finite_limit: int = 10
    time_limit: float | None = None
    tracker: Literal["tensorboard", "wandb", "none"] = "tensorboard"
    weight_decay_end: float | None = None

    def __post_init__(self) -> None:
        for name in ("batch_size", "accumulation", "log_every", "save_every", "sample_every", "keep"):
            if getattr(self, name) < 1:
                raise UserError(f"{name}={getattr(self, name)} must be at least 1")
        if self.steps < 0:
            raise UserError(f"steps={self.steps} must not be negative")
        if not 0 <= self.ema < 1:
            raise UserError(f"ema={self.ema} must lie in [0, 1); 0 turns averaging off")
        if self.weight_decay_end is not None and min(self.weight_decay, self.weight_decay_end) <= 0:
            raise UserError(
                f"weight decay from {self.weight_decay} to {self.weight_decay_end}: both must be above 0, or leave out "
                "weight_decay_end"
            )
        if self.precision not in ("auto", "fp32", "bf16"):
            raise UserError(f"precision={self.precision!r} is unknown; choose auto, fp32 or bf16")
        if self.tracker not in ("tensorboard", "wandb", "none"):
            raise UserError(f"tracker={self.tracker!r} is unknown; choose tensorboard, wandb or none")

    @property
    def lr(self) -> float:
        """The effective peak learning rate."""
        return self.base_lr * self.batch_size / 256

    def binding(self) -> dict[str, Any]:
        """The settings that a resumed run must share with the run it continues."""
        binding = {name: value for name, value in asdict(self).items() if name not in FREE}
        if self.weight_decay_end is None:
            # as in the records of runs from before there was this setting
            del binding["weight_decay_end"]
        return binding


@dataclass(frozen=True)
class Result:
    """What `fit` returns.

    Attributes:
        step: optimiser steps made over the whole life of the run.
        losses: the lines of log.jsonl (on ranks other than 0, those of this call only).
        folder: the run folder.
        interrupted: true when a signal or the time limit ended the run before `steps`.
    """

    step: int
    losses: list[dict[str, Any]] = field(repr=False)
    folder: Path
    interrupted: bool = False
