"""`python -m tests.bench generate-step`: both train, and with equal weights losses and gradients agree."""

import json
import math

import pytest
import torch

from mimgen.errors import UserError
from tests.bench import generate_step as bench_generate_step
from tests.bench import peak_memory
from tests.bench.generate_peers import BLOCKS, absent
from tests.bench.generate_shapes import SHAPES
from tests.bench.generate_step import KINDS, StepInputs, agreement, bench, main, timed_step
from tests.bench.pretrain_steps import Setting

WORDS = ["--sizes", "tiny", "--batch", "2", "--repeats", "1", "--device", "cpu"]
needs_diffusers = pytest.mark.skipif(bool(absent()), reason="diffusers is too old for the peer")


@pytest.fixture(autouse=True)
def no_children(monkeypatch):
    def here(prepare, arguments):
        return 2**20 * bool(prepare(*arguments)())

    monkeypatch.setattr(peak_memory, "peak_in_child", here)


@needs_diffusers
@pytest.mark.parametrize("size", ["tiny", "tiny-compressed"])
def test_losses_and_gradients_agree(size):
    assert agreement(SHAPES[size])


@needs_diffusers
def test_disagreement_is_noticed(monkeypatch):
    monkeypatch.setattr(bench_generate_step, "_IGNORED", 0)
    assert not agreement(SHAPES["tiny"])


@needs_diffusers
@pytest.mark.parametrize("kind", KINDS)
def test_steps_train(kind):
    step = timed_step(kind, SHAPES["tiny"], Setting(2))
    first = step()
    assert min(step() for _ in range(20)) < first


def test_a_batch_hides_as_much_as_batches_do_on_average():
    inputs = StepInputs.of(SHAPES["tiny"], Setting(16))
    counts = inputs.mask.masked.sum(1)
    assert counts.tolist() == (inputs.rates * 64).round().clamp(min=1).tolist()
    assert float(inputs.rates.mean()) == pytest.approx(2 / math.pi, abs=0.01)


def test_the_report(capsys, tmp_path):
    out = tmp_path / "step.json"
    assert main([*WORDS, "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    row = json.loads(out.read_text())["scores"]["tiny"]
    mine = row["steps"]["mimgen"]
    assert mine["images_per_s"] == pytest.approx(2 / mine["seconds"]) and mine["peak_mib"] == 1
    if not absent():
        assert row["speed"] == pytest.approx(row["steps"][BLOCKS]["seconds"] / mine["seconds"])
        assert "the same loss and gradients" in printed


def test_without_diffusers_ours_is_measured_alone(monkeypatch, capsys):
    monkeypatch.setattr(bench_generate_step, "absent", lambda: "diffusers>=0.35")
    assert main(WORDS) == 0
    printed = capsys.readouterr().out
    assert "pip install 'diffusers>=0.35'" in printed and "times as fast" not in printed


@needs_diffusers
def test_a_different_loss_fails(monkeypatch, capsys):
    monkeypatch.setattr(bench_generate_step, "agreement", lambda shape, seed: False)
    assert main(WORDS) == 1
    assert "DIFFERENT" in capsys.readouterr().out


def test_mistakes_are_named():
    with pytest.raises(UserError, match="did you mean tiny"):
        bench("tyni", device="cpu")
    with pytest.raises(UserError, match="at least 1"):
        bench("tiny", 0, device="cpu")
    if not torch.cuda.is_available():
        with pytest.raises(UserError, match="no GPU"):
            bench("tiny", device="cuda")
