"""Recorded cases of official implementations agree, and what disagrees is told."""

import json
import math
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from mimgen.errors import UserError
from mimgen.sampling.orders import halton_cells
from tests.parity import load_case, replay, systems
from tests.parity.__main__ import run
from tests.parity.cases import compare, parse_tolerance
from tests.parity.replays import mage

CASES = Path(__file__).parent / "cases"
FILES = sorted(CASES.rglob("*.safetensors"))
SCHEDULER = CASES / "meissonic_scheduler" / "linear.safetensors"


def rewrite(source, target, change):
    """Copy a case after `change(tensors, metadata)` has edited its dictionaries in place."""
    with safe_open(source, framework="pt") as file:
        metadata = dict(file.metadata())
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    change(tensors, metadata)
    save_file({key: value.contiguous() for key, value in tensors.items()}, target, metadata=metadata)
    return target


@pytest.fixture(scope="session")
def reports():
    """What `python -m tests.parity` prints of each kept case.

    A process for itself: one that has used MKL can no longer ask for the rounding of the recordings.
    """
    command = [sys.executable, "-m", "tests.parity", str(CASES)]
    run = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert "cases agree" in run.stdout, run.stderr
    headings = re.split(r"^(?=\S)", run.stdout, flags=re.M)
    return {path: found.splitlines() for found in headings for path in FILES if f"  {path}" in found}


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_case_agrees(path, reports):
    heading, *outputs = reports[path]
    assert len(outputs) == len(load_case(path).outputs) > 0
    assert [line for line in (heading, *outputs) if line.split()[0] != "ok"] == []


def test_two_replays_of_one_system_are_an_error(monkeypatch):
    monkeypatch.setitem(mage.REPLAYS, "mae", mage.REPLAYS["mage_train"])
    with pytest.raises(ValueError, match="mage replays mae"):
        systems()


def test_every_known_system_has_a_case():
    assert {load_case(path).system for path in FILES} >= set(systems())


def perturbable():
    """(file, group) pairs that change when real numbers (of outputs: any numbers) are perturbed."""
    for path in FILES:
        case = load_case(path)
        for group in ("inputs", "weights", "outputs"):
            values = getattr(case, group).values()
            if group == "outputs" or any(value.is_floating_point() for value in values):
                yield pytest.param(path, group, id=f"{path.parent.name}-{path.stem}-{group}")


@pytest.mark.parametrize(("path", "group"), perturbable())
def test_a_perturbed_case_fails(path, group, tmp_path):
    def perturb(tensors, _):
        generator = torch.Generator().manual_seed(0)
        for name, value in tensors.items():
            if name.startswith(group) and value.is_floating_point():
                tensors[name] = value * (0.5 + 0.4 * torch.rand(value.shape, generator=generator))
            elif name.startswith("outputs") and group == "outputs":
                tensors[name] = value + 1

    perturbed = load_case(rewrite(path, tmp_path / "case.safetensors", perturb))
    assert not all(comparison.ok for comparison in replay(perturbed))


def test_a_missing_output_fails(tmp_path, capsys):
    def ask_for_more(tensors, _):
        tensors["outputs/tokens_99"] = torch.zeros(2, 18, dtype=torch.int64)

    path = rewrite(SCHEDULER, tmp_path / "case.safetensors", ask_for_more)
    missing = [comparison for comparison in replay(load_case(path)) if not comparison.ok]
    assert [(comparison.name, comparison.error) for comparison in missing] == [("tokens_99", math.inf)]
    assert run([path]) == 1
    assert "FAILED" in capsys.readouterr().out


def test_nothing_hangs_on_the_file_name(tmp_path):
    target = tmp_path / "deeper" / "other name.safetensors"
    target.parent.mkdir()
    shutil.copy(SCHEDULER, target)
    assert run([tmp_path]) == 0


def test_the_scheduler_takes_other_sizes_and_a_starting_ratio(tmp_path):
    """The replay of a case with another start ratio leaves the scheduled number masked."""

    def inpaint(tensors, metadata):
        metadata["config"] = json.dumps(json.loads(metadata["config"]) | {"starting_mask_ratio": 0.5})
        tensors["inputs/initial_tokens"][:] = 24
        for name in ("tokens_0", "tokens_1"):
            tensors[f"outputs/{name}"] = torch.full((2, 18), -1)

    case = load_case(rewrite(SCHEDULER, tmp_path / "case.safetensors", inpaint))
    outputs = systems()[case.system](case)
    assert [(outputs[f"tokens_{step}"] == 24).sum(1).tolist() for step in range(5)] == [
        [7, 7],
        [5, 5],
        [3, 3],
        [1, 1],
        [0, 0],
    ]


def test_halton_of_other_sizes(tmp_path):
    def resize(tensors, _):
        for key in [key for key in tensors if key.startswith("outputs")]:
            del tensors[key]
        tensors["inputs/sizes"] = torch.tensor([12, 64])
        for size in (12, 64):
            cells = halton_cells((size, size), points=10_000)
            tensors[f"outputs/order_{size}"] = torch.stack([cells // size, cells % size], 1)

    case = load_case(
        rewrite(CASES / "halton_order" / "orders.safetensors", tmp_path / "a.safetensors", resize)
    )
    assert [(comparison.name, comparison.ok) for comparison in replay(case)] == [
        ("order_12", True),
        ("order_64", True),
    ]
    assert case.outputs["order_64"].shape == (4090, 2)


def test_run_reports_and_goes_on(tmp_path, capsys):
    def rename(_, metadata):
        metadata["system"] = "no_such_system"

    rewrite(SCHEDULER, tmp_path / "a.safetensors", rename)
    (tmp_path / "b.safetensors").write_bytes(b"not a safetensors file")
    shutil.copy(SCHEDULER, tmp_path / "c.safetensors")
    assert run([tmp_path]) == 1
    out = capsys.readouterr().out
    assert "unknown system 'no_such_system'" in out
    assert "not a parity case" in out
    assert "meissonic_scheduler" in out
    assert "1 of 3 cases agree" in out


def test_paths_that_lead_nowhere_are_named(tmp_path):
    with pytest.raises(UserError, match="no case given"):
        run([])
    with pytest.raises(UserError, match="does not exist"):
        run([tmp_path / "absent"])
    with pytest.raises(UserError, match=r"no \.safetensors file"):
        run([tmp_path])


def test_a_file_of_other_content_is_named(tmp_path):
    save_file({"weight": torch.zeros(2)}, tmp_path / "model.safetensors")
    with pytest.raises(UserError, match="not a parity case"):
        load_case(tmp_path / "model.safetensors")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("exact", 0.0),
        ("exact (integer outputs)", 0.0),
        ("codes exact, logits 1e-4", 1e-4),
        ("tokens exact (smallest gap 2.2e-02), logits 5e-4", 5e-4),
        ("1e-4 when computed in float32; otherwise up to 6.9e-06", 1e-4),
    ],
)
def test_tolerances_are_read(text, value):
    assert parse_tolerance(text) == value


def test_comparisons():
    real, whole = torch.tensor([1.0, -4.0]), torch.tensor([1, 2000])
    assert compare("a", real + 2e-4, real, 1e-4).error == pytest.approx(5e-5, rel=1e-2)
    assert compare("a", real + 2e-4, real, 1e-4).ok
    assert not compare("a", real + 2e-3, real, 1e-4).ok
    assert not compare("a", real[None], real, 1e-4).ok
    assert not compare("a", real * math.nan, real, 1e-4).ok
    assert not compare("a", whole + 1, whole, 1.0).ok
    assert compare("a", real * 0, real * 0, 0.0).ok
