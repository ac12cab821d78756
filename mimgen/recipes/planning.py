"""How many steps of a run fit into some seconds, found by a trial."""

from __future__ import annotations

import json
import math
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mimgen.recipes import TrainingRun

__all__ = ["steps_that_fit"]

TRIAL = 10  # steps that are timed; the first two, which warm up, do not count
USED = 0.9  # share of the time for steps; sampling, saving and the trial take the rest


def steps_that_fit(run: TrainingRun, out: Path, seconds: float) -> int:
    """Steps that fit into `seconds`, timed once and kept in `out`/plan.json, so that a resumed run agrees."""
    path = out / "plan.json"
    if path.is_file():
        return int(json.loads(path.read_text(encoding="utf-8"))["steps"])
    start = time.monotonic()
    trial = replace(
        run.settings, steps=TRIAL, warmup=1, log_every=1, save_every=TRIAL, sample_every=10**9, tracker="none",
        time_limit=max(1.0, seconds / 4),
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        lines = replace(run, settings=trial).run(Path(folder)).losses
    rates = sorted(float(line["images_per_s"]) for line in lines[2:] or lines)
    per_step = trial.batch_size / rates[len(rates) // 2]
    steps = max(1, math.floor((USED * seconds - (time.monotonic() - start)) / per_step))

    from mimgen.evaluation import write_result

    write_result(path, {"steps": steps, "seconds_per_step": per_step})
    return steps
