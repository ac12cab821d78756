"""What every arm may spend on training, and how its run is made."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, get_args, get_type_hints

from mimgen import configs
from mimgen.errors import UserError, unknown_name
from mimgen.recipes.compare.outcomes import Row
from mimgen.recipes.planning import steps_that_fit

if TYPE_CHECKING:
    from mimgen.recipes import DataConfig, Run, TrainingRun

__all__ = ["Budget", "ConfigRun", "RunBuilder", "named_run", "train"]


@dataclass(frozen=True)
class Budget:
    """What every arm may spend on training.

    Attributes:
        images: training images; None where the seconds decide.
        seconds: maximum seconds of training; without `images` the number of steps is chosen to fill them.
        precision: the same for all arms.
        reference: the run that gets `images`; any other gets as many as cost the same operations, forward and
            backward, teachers included. None gives every run the same number of images.
    """

    images: int | None = 20_000
    seconds: float | None = None
    precision: Literal["auto", "fp32", "bf16"] = "fp32"
    reference: RunBuilder | None = None

    def __post_init__(self) -> None:
        if self.images is None and self.seconds is None:
            raise UserError("a comparison needs a budget: give --images, --seconds or both")
        for name, value in (("images", self.images), ("seconds", self.seconds)):
            if value is not None and value <= 0:
                raise UserError(f"--{name} {value}: give a positive number")

    def __str__(self) -> str:
        parts = [] if self.images is None else [f"{self.images:,} images"]
        if self.seconds is not None:
            parts.append(f"at most {self.seconds:,.0f} s")
        text = " and ".join(parts)
        return text if self.reference is None or not self.images else f"operations of {self.reference.name} for {text}"


class RunBuilder(Protocol):
    """Makes the run of an arm; pickles."""

    @property
    def name(self) -> str:
        """Of what is trained."""

    def __call__(self, seed: int, steps: int | None = None) -> Run:
        """The run with this seed; its schedules end with `steps`, by default with the steps of the config."""


@dataclass(frozen=True)
class ConfigRun:
    """A named config with arguments, as a `RunBuilder`.

    Attributes:
        config: name of the config.
        arguments: of its `experiment`, besides seed and steps.
        split: of the data that is trained on; held-out images stay out of training.
        change: what the data of the config become, such as a control with mismatched pairs.
    """

    config: str
    arguments: Mapping[str, Any]
    split: str | None = "train"
    change: Callable[[DataConfig], DataConfig] | None = None

    @property
    def name(self) -> str:
        """Of the config."""
        return self.config

    def __call__(self, seed: int, steps: int | None = None) -> Run:
        """The run; see `RunBuilder`."""
        more = {} if steps is None else {"steps": steps}
        run: Run = configs.experiment(self.config)(**self.arguments, seed=seed, **more)
        data = replace(run.data_config, split=self.split)
        return replace(run, data_config=data if self.change is None else self.change(data))


# The argument that the second half of a name such as "vqgan-fsq" chooses: the first that the config has.
_CHOOSING = ("variant", "quantizer")


def named_run(
    name: str, arguments: Mapping[str, Any], *, split: str | None = "train", only: str | None = None
) -> ConfigRun:
    """The run meant by "CONFIG" or "CONFIG-VARIANT", such as vqgan-fsq.

    Args:
        name: of the config, with a hyphen before its variant.
        arguments: of the config; those that it does not have are left out.
        split: see `ConfigRun`.
        only: the folder of configs/ that it must be from, such as "tokenizer".

    Raises:
        UserError: no such config or variant; the message lists them.
    """
    config, _, value = name.partition("-")
    function = configs.experiment(config)
    parameters = signature(function).parameters
    if only is not None and f".{only}." not in configs.names()[config]:
        raise UserError(f"{config} is no {only}; `mimgen train` lists the configs that are")
    chosen = {key: each for key, each in arguments.items() if key in parameters}
    if value:
        argument = next((each for each in _CHOOSING if each in parameters), None)
        if argument is None:
            raise UserError(f"{name!r}: the config {config} has no variants; write {config!r} alone")
        known = get_args(get_type_hints(function)[argument])
        if known and value not in known:
            raise unknown_name(f"{argument} of {config}", value, known)
        chosen[argument] = value
    return ConfigRun(config, chosen, split)


def train(run: TrainingRun, out: Path, budget: Budget) -> Row:
    """Train in the run folder `out`, or resume there, as far as the budget allows.

    Returns:
        JSON: steps, steps_planned, batch_size, images, seconds (all sessions together), images_per_s,
        parameters, pixels and whether the time limit ended it before the planned steps.

    Raises:
        KeyboardInterrupt: a signal stopped it; a checkpoint is saved.
    """
    settings = replace(run.settings, precision=budget.precision, tracker="none")
    run = replace(run, settings=settings)
    steps = _steps(run, out, budget)
    before = _seconds(out)
    left = None if budget.seconds is None else max(1.0, budget.seconds - before)
    run = replace(
        run,
        settings=replace(
            settings, steps=steps, warmup=max(1, min(settings.warmup, steps // 10)), time_limit=left,
            log_every=max(1, steps // 50), save_every=max(1, steps // 4), sample_every=steps, keep=1,
        ),
    )  # fmt: skip
    start = time.monotonic()
    result = run.run(out)
    elapsed = time.monotonic() - start
    if result.interrupted and (left is None or elapsed < left):
        raise KeyboardInterrupt
    batch = settings.batch_size
    rates = sorted(float(line["images_per_s"]) for line in result.losses)
    recorded = json.loads((out / "settings.json").read_text(encoding="utf-8"))
    return {
        "steps": result.step,
        "steps_planned": steps,
        "batch_size": batch,
        "images": result.step * batch,
        "seconds": round(_seconds(out), 1),
        "images_per_s": rates[len(rates) // 2] if rates else None,
        "parameters": recorded["trainable_parameters"],
        "pixels": run.data_config.size,
        "stopped_by_time_limit": result.interrupted,
    }


def _seconds(out: Path) -> float:
    """Seconds that the run in `out` has been trained so far."""
    path = out / "log.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    return float(json.loads(lines[-1])["seconds"]) if lines else 0.0


def _steps(run: TrainingRun, out: Path, budget: Budget) -> int:
    """Steps of the whole training; timed by a short trial, once, where only the seconds are given."""
    if budget.images is not None:
        return max(1, budget.images // run.settings.batch_size)
    assert budget.seconds is not None
    return steps_that_fit(run, out, budget.seconds)
