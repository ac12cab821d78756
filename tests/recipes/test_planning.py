"""How many steps fit into some seconds: from the rates of a trial, once."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from mimgen.recipes import TrainingRun, planning
from mimgen.recipes.planning import steps_that_fit
from mimgen.training import Settings


@dataclass(frozen=True)
class Timed:
    """A run with known images/s, so that no clock decides."""

    settings: Settings
    rates: tuple[float, ...]

    def run(self, folder: Path) -> SimpleNamespace:
        assert self.settings.log_every == 1 and self.settings.save_every == self.settings.steps
        return SimpleNamespace(losses=[{"images_per_s": rate} for rate in self.rates])


def planned(out: Path, seconds: float, *rates: float) -> int:
    run = Timed(Settings(steps=1000, batch_size=8, base_lr=0.1), rates)
    return steps_that_fit(cast(TrainingRun, run), out, seconds)


@pytest.fixture(autouse=True)
def stopped_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "time", SimpleNamespace(monotonic=lambda: 0.0))


def test_the_median_after_warming_up_decides(tmp_path: Path) -> None:
    assert planned(tmp_path, 10, 1.0, 2.0, 16.0, 400.0, 4.0) == 18  # 0.9 * 10 s at 0.5 s a step
    assert json.loads((tmp_path / "plan.json").read_text("utf-8")) == {"steps": 18, "seconds_per_step": 0.5}


def test_a_plan_is_made_once(tmp_path: Path) -> None:
    assert planned(tmp_path, 10, 16.0, 16.0, 16.0) == planned(tmp_path, 99, 1.0) == 18


def test_a_slow_machine_makes_one_step(tmp_path: Path) -> None:
    assert planned(tmp_path, 1, 0.1) == 1
