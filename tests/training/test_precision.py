"""The number format follows from what the device can do, never from how fast it was."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from training_toy import Toy, ToyBatches

from mimgen.training import Settings, fit, precision
from mimgen.training.precision import choose_precision

ROOT, CPU = Path(__file__).parents[2], torch.device("cpu")


def cpuinfo(folder: Path, line: str) -> Path:
    path = folder / "cpuinfo"
    path.write_text(f"processor\t: 0\nmodel name\t: bf16 amx_bf16\n{line}\n\nprocessor\t: 1\n{line}\n")
    return path


@pytest.mark.parametrize(
    ("line", "flag"),
    [
        ("flags\t\t: fpu avx2 avx512f avx512_bf16 amx_bf16 amx_tile", "amx_bf16"),
        ("flags\t\t: fpu avx2 avx512f avx512_bf16", "avx512_bf16"),
        ("Features\t: fp asimd i8mm bf16", "bf16"),
        ("flags\t\t: fpu avx2 avx512f avx512_fp16 amx_tile amx_int8", None),
        ("isa\t\t: rv64imafdc", None),
    ],
)
def test_a_cpu_is_known_by_its_flags(line, flag, tmp_path, monkeypatch):
    monkeypatch.setattr(precision, "_CPUINFO", cpuinfo(tmp_path, line))
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: True)
    chosen = choose_precision("auto", CPU)
    assert chosen.name == ("bf16" if flag else "fp32")
    assert chosen.reason == (f"the CPU has {flag}" if flag else "no bf16 instructions were found")


def test_what_cannot_be_found_out_is_fp32(tmp_path, monkeypatch):
    monkeypatch.setattr(precision, "_CPUINFO", tmp_path / "absent")
    assert choose_precision("auto", CPU).name == "fp32"
    assert choose_precision("auto", torch.device("mps")).name == "fp32"
    monkeypatch.setattr(precision, "_CPUINFO", cpuinfo(tmp_path, "flags : amx_bf16"))
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert choose_precision("auto", CPU).name == "fp32"


@pytest.mark.parametrize(("capability", "name"), [((7, 5), "fp32"), ((8, 0), "bf16"), ((12, 0), "bf16")])
def test_a_gpu_is_known_by_its_capability(capability, name, monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert choose_precision("auto", torch.device("cuda")).name == name


@pytest.mark.parametrize("wanted", ["fp32", "bf16"])
def test_what_is_asked_for_is_taken(wanted):
    assert choose_precision(wanted, CPU) == precision.Precision(wanted, "as asked")


def test_two_processes_on_one_machine_decide_alike():
    code = "import torch; from mimgen.training.precision import choose_precision as choose\n"
    command = [sys.executable, "-c", code + "print(choose('auto', torch.device('cpu')))"]
    processes = [subprocess.Popen(command, cwd=ROOT, text=True, stdout=subprocess.PIPE) for _ in range(2)]
    reported = {process.communicate(timeout=300)[0].strip() for process in processes}
    assert reported == {str(choose_precision("auto", CPU))}


def test_the_training_says_which_and_why(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(precision, "_CPUINFO", cpuinfo(tmp_path, "flags : avx512_bf16"))
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: True)
    settings = {"batch_size": 4, "log_every": 1, "tracker": "none"}
    fit(Toy(), ToyBatches(4), Settings(steps=1, **settings), tmp_path / "run")
    assert "in bf16 (the CPU has avx512_bf16): " in capsys.readouterr().err
    # resumed on a machine without them: the run keeps its number format
    monkeypatch.setattr(precision, "_CPUINFO", tmp_path / "absent")
    fit(Toy(), ToyBatches(4), Settings(steps=2, **settings), tmp_path / "run")
    assert "in bf16 (as the checkpoint says): " in capsys.readouterr().err
