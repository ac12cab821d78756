"""What every training is told besides its own: the flags that all configs share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, Literal, Protocol, Self, TypedDict, Unpack

from mimgen.recipes.data_config import DataConfig, value_or
from mimgen.training import Settings


class SizeConfig(Protocol):
    """What an entry of a config's table of sizes says at least; `warmup`, where it says that too, is read as well."""

    @property
    def pixels(self) -> int:
        """Side of the images."""

    @property
    def steps(self) -> int:
        """Optimiser steps."""

    @property
    def batch(self) -> int:
        """Images per step."""

    @property
    def base_lr(self) -> float:
        """Learning rate for 256 images."""


class FixedSettings(TypedDict, total=False):
    """Settings that a config fixes, see `Settings`; what it leaves out is as there."""

    accumulation: int
    warmup: int
    min_lr_ratio: float
    weight_decay: float
    weight_decay_end: float | None
    betas: tuple[float, float]
    clip: float
    ema: float


@dataclass(frozen=True)
class TrainFlags:
    """Flags of every training.

    The command line shows them beside a config's own; a config that describes one of them anew says what is
    specific to it there.

    Attributes:
        steps: optimiser steps; by default the size's own.
        pixels: side of the images; by default the size's own.
        batch_size: images per step; by default the size's own.
        base_lr: learning rate for 256 images; by default the size's own.
        precision: auto is bf16 where the device has instructions for it, else fp32.
        time_limit: seconds after which training stops with a checkpoint.
        tracker: where curves go besides log.jsonl.
        seed: of weights, data order and all that is sampled, such as masks and noise.
    """

    steps: int | None = None
    pixels: int | None = None
    batch_size: int | None = None
    base_lr: float | None = None
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    time_limit: float | None = None
    tracker: Literal["tensorboard", "wandb", "none"] = "tensorboard"
    seed: int = 0

    def settings(self, size: SizeConfig, **fixed: Unpack[FixedSettings]) -> Settings:
        """The settings of the loop at a size: what the flags say, else the size, and what the config has `fixed`.

        Raises:
            UserError: a number that makes no sense; see `Settings`.
        """
        warmup = getattr(size, "warmup", None)
        if warmup is not None:
            fixed.setdefault("warmup", warmup)
        return Settings(
            steps=value_or(self.steps, size.steps),
            batch_size=value_or(self.batch_size, size.batch),
            base_lr=value_or(self.base_lr, size.base_lr),
            precision=self.precision,
            time_limit=self.time_limit,
            tracker=self.tracker,
            seed=self.seed,
            **fixed,
        )

    def data_config(self, data: str, size: SizeConfig) -> DataConfig:
        """The images of `data`, with the side that the flag says, else the size."""
        return DataConfig(data, value_or(self.pixels, size.pixels))


DEFAULT_FLAGS = TrainFlags()  # nothing is told: all is as the size says


class Recorded:
    """A run that remembers which arguments its config was given: it resumes with the same ones only."""

    MAY_CHANGE: ClassVar[frozenset[str]] = frozenset()

    def with_options(self, arguments: Mapping[str, Any]) -> Self:
        """The run with `options`, those of the `arguments` that neither the loop's settings nor `record` hold.

        Args:
            arguments: of the config's `experiment`, those that differ from the defaults of its signature.
        """
        run: Any = replace(self, options={})  # type: ignore[type-var]
        known = {each.name for each in fields(Settings)} | run.record().keys() | self.MAY_CHANGE
        changed: Self = replace(run, options={name: value for name, value in arguments.items() if name not in known})
        return changed
