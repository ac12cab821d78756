"""Exact resume: killed, stopped or prolonged, a run ends with the weights of one that never stopped."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from training_toy import Toy, ToyBatches, run_settings

from mimgen.errors import UserError
from mimgen.training import Settings, fit, load_ema
from mimgen.training.checkpoint import newest

ROOT = Path(__file__).parents[2]


def _init_weights(out: Path, *more: str) -> subprocess.Popen[str]:
    command = [sys.executable, str(ROOT / "tests" / "training" / "training_toy.py"), "--out", str(out), *more]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "ACCELERATE_USE_CPU": "1"}
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def _finish(process: subprocess.Popen[str]) -> str:
    out, error = process.communicate(timeout=600)
    assert process.returncode == 0, error
    return out


def _wait_for(process: subprocess.Popen[str], check: Callable[[], bool], seconds: float = 600) -> None:
    end = time.monotonic() + seconds
    while not check():
        if process.poll() is not None or time.monotonic() > end:
            process.kill()
            pytest.fail(f"the training process made no progress: {process.communicate()[1][-2000:]}")
        time.sleep(0.01)


def _assert_equal(one: Path, two: Path) -> None:
    """Every tensor of model, ema and optimizer, and every part of the state but the clock."""
    first, second = newest(one), newest(two)
    assert first is not None
    assert second is not None
    assert first.name == second.name
    for name in ("model", "ema", "optimizer"):
        left, right = (load_file(folder / f"{name}.safetensors") for folder in (first, second))
        assert left.keys() == right.keys()
        assert len(left) > 4
        for key, tensor in left.items():
            assert torch.equal(tensor, right[key]), f"{name}: {key}"
    states = [json.loads((folder / "state.json").read_text()) for folder in (first, second)]
    for state in states:
        del state["seconds"]
    assert states[0] == states[1]
    clocks = ("seconds", "images_per_s", "peak_memory_mib")
    logs = [[json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()] for run in (one, two)]
    for line in logs[0] + logs[1]:
        for field in clocks:
            del line[field]
    assert logs[0] == logs[1]


def test_kill_and_resume_is_exact(tmp_path: Path) -> None:
    straight, killed = tmp_path / "straight", tmp_path / "killed"
    victim = _init_weights(killed, "--hold", "5")
    log = killed / "log.jsonl"
    # After the checkpoint of step 3, with steps beyond it in the log that have to be made again.
    _wait_for(victim, lambda: log.exists() and len(log.read_text().splitlines()) == 5)
    victim.send_signal(signal.SIGKILL)
    victim.communicate()
    assert victim.returncode == -signal.SIGKILL
    latest = newest(killed)
    assert latest is not None
    assert latest.name == "step-00000003"
    assert "step=12 interrupted=False" in _finish(_init_weights(killed))
    fit(Toy(), ToyBatches(8), run_settings(), straight)
    _assert_equal(straight, killed)


def test_sigterm_saves_and_exits_cleanly(tmp_path: Path) -> None:
    process = _init_weights(tmp_path, "--hold", "2", "--save-every", "1000")
    log = tmp_path / "log.jsonl"
    _wait_for(process, lambda: log.exists() and len(log.read_text().splitlines()) == 2)
    process.terminate()
    (tmp_path / "go").touch()
    # the signal meets the loop after its second step, or while it waits for the batch of its third
    said = re.search(r"step=([23]) interrupted=True", _finish(process))
    assert said is not None
    step, latest = int(said[1]), newest(tmp_path)
    assert latest is not None
    # The step under way was finished and is in the checkpoint.
    assert json.loads(log.read_text().splitlines()[-1])["step"] == int(latest.name[-8:]) == step


def _settings(**changes: object) -> Settings:
    return run_settings(**{"steps": 6, "log_every": 2, "save_every": 2, **changes})


def test_time_limit_stops_with_a_checkpoint_and_goes_on_exactly(tmp_path: Path) -> None:
    limited, straight = tmp_path / "limited", tmp_path / "straight"
    result = fit(Toy(), ToyBatches(8), _settings(time_limit=0.0), limited)
    assert result.interrupted
    assert result.step == 1
    assert newest(limited) is not None
    # Stopped between two log lines: the means of the next line still cover the step before.
    fit(Toy(), ToyBatches(8), _settings(), limited)
    fit(Toy(), ToyBatches(8), _settings(), straight)
    _assert_equal(limited, straight)


def test_more_steps_continue_and_reached_steps_return(tmp_path: Path) -> None:
    fit(Toy(), ToyBatches(8), _settings(), tmp_path)
    again = Toy()
    result = fit(again, ToyBatches(8), _settings(), tmp_path)
    assert result.step == 6
    assert not result.interrupted
    assert [line["step"] for line in result.losses] == [2, 4, 6]
    latest = newest(tmp_path)
    assert latest is not None
    saved = load_file(latest / "model.safetensors")
    assert torch.equal(again.first.weight, saved["first.weight"])
    longer = fit(Toy(), ToyBatches(8), _settings(steps=9), tmp_path)
    assert longer.step == 9
    assert [line["step"] for line in longer.losses] == [2, 4, 6, 8, 9]


def test_other_settings_are_refused_with_both_fixes(tmp_path: Path) -> None:
    fit(Toy(), ToyBatches(8), _settings(steps=2), tmp_path, record={"data": "emoji", "steps": 2})
    changed = _settings(base_lr=0.1, keep=5, time_limit=99.0)
    with pytest.raises(
        UserError, match=r"base_lr \(was 0.3, now 0.1\); data \(was emoji, now cats\)"
    ) as caught:
        fit(Toy(), ToyBatches(8), changed, tmp_path, record={"data": "cats", "steps": 6})
    assert "--out" in str(caught.value)
    assert "delete" in str(caught.value)
    assert "keep" not in str(caught.value)
    assert "steps" not in str(caught.value)


def test_load_ema_gives_the_averages(tmp_path: Path) -> None:
    trained = Toy()
    fit(trained, ToyBatches(8), _settings(), tmp_path)
    averaged = Toy()
    assert load_ema(tmp_path, averaged) == 6
    assert not torch.equal(averaged.first.weight, trained.first.weight)
    assert torch.equal(averaged.mean, trained.mean)
    with pytest.raises(UserError, match="no checkpoint"):
        load_ema(tmp_path / "nothing", Toy())
    other = Toy()
    other.first = torch.nn.Linear(48, 9)
    with pytest.raises(UserError, match="another architecture"):
        load_ema(tmp_path, other)
