"""Training within a study: an equal budget for every system, and a loaded tokenizer at the end."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from mimgen.errors import UserError
from mimgen.recipes.planning import steps_that_fit

if TYPE_CHECKING:
    from mimgen.recipes import TrainTokenizer

__all__ = ["Budget", "train"]


@dataclass(frozen=True)
class Budget:
    """What every system of a study may spend on training.

    Attributes:
        images: images seen; None where the seconds decide.
        seconds: most seconds of training; without `images` the number of steps is chosen to fill them.
        precision: the same for all.
    """

    images: int | None = 20_000
    seconds: float | None = None
    precision: Literal["auto", "fp32", "bf16"] = "fp32"

    def __post_init__(self) -> None:
        if self.images is None and self.seconds is None:
            raise UserError("a study needs a budget: give --images, --seconds or both")
        for name, value in (("images", self.images), ("seconds", self.seconds)):
            if value is not None and value <= 0:
                raise UserError(f"--{name} {value}: give a positive number")

    def words(self) -> str:
        """The budget in words, for the result."""
        parts = [] if self.images is None else [f"{self.images:,} images"]
        if self.seconds is not None:
            parts.append(f"at most {self.seconds:,.0f} s")
        return " and ".join(parts)


def train(run: TrainTokenizer, out: Path, budget: Budget) -> dict[str, Any]:
    """Train in the run folder `out`, or resume there, as far as the budget allows.

    Returns:
        JSON: steps, steps_planned, batch_size, images, seconds (all starts together), images_per_s,
        parameters, pixels and whether the clock ended it before the planned steps.

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
    took = time.monotonic() - start
    if result.interrupted and (left is None or took < left):
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
        "stopped_by_clock": result.interrupted,
    }


def _seconds(out: Path) -> float:
    """Seconds that the run in `out` has been trained so far."""
    path = out / "log.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    return float(json.loads(lines[-1])["seconds"]) if lines else 0.0


def _steps(run: TrainTokenizer, out: Path, budget: Budget) -> int:
    """Steps of the whole training; found by a trial, once, where only the clock is given."""
    if budget.images is not None:
        return max(1, budget.images // run.settings.batch_size)
    assert budget.seconds is not None
    return steps_that_fit(run, out, budget.seconds)
