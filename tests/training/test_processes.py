"""Two processes make the run of one."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from training_toy import Toy, ToyBatches, run_settings

from mimgen.training import fit

ROOT = Path(__file__).parents[2]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


# `accelerate launch --cpu --num_processes 2` starts one process unless MPI is installed (accelerate
# 1.15), so the starter for several processes is named; ACCELERATE_USE_CPU keeps it off the GPU.
def _launch_two(out: Path, *more: str) -> list[dict[str, float]]:
    launcher = ["-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
    launcher += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]
    launcher += ["--main_process_port", str(_free_port())]
    script = [
        str(ROOT / "tests" / "training" / "training_toy.py"),
        "--out",
        str(out),
        "--dropout",
        "0",
        *more,
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, *launcher, *script],
        cwd=ROOT,
        env=environment,
        text=True,
        capture_output=True,
        timeout=600,  # against hanging only: a busy machine takes long to start processes
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


def test_two_processes_equal_one(tmp_path: Path) -> None:
    two = _launch_two(tmp_path / "two", "--accumulation", "2")
    objective = Toy(dropout=0)
    one = fit(objective, ToyBatches(8), run_settings(), tmp_path / "one").losses
    for left, right in zip(one, two, strict=True):
        for name in ("loss", "error", "size", "grad_norm"):
            assert left[name] == pytest.approx(right[name], rel=1e-4), (name, left["step"])
    assert json.loads((tmp_path / "two" / "settings.json").read_text())["processes"] == 2
    ranks = [torch.load(tmp_path / "two" / f"weights-{rank}.pt", weights_only=True) for rank in (0, 1)]
    single = objective.state_dict()
    for name in ("first.weight", "first.bias", "second.weight", "second.bias", "steps"):
        assert torch.equal(ranks[0][name], ranks[1][name]), name
        torch.testing.assert_close(single[name], ranks[0][name], rtol=1e-4, atol=1e-6)
