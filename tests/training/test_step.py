"""What one step does: accumulation, clipping groups, the guard against non-finite numbers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch import nn
from training_toy import Toy, ToyBatches, run_settings

from mimgen.errors import UserError
from mimgen.training import Settings, Trainable, fit
from mimgen.training.guard import Guard
from mimgen.training.optim import clip_gradients, clip_groups, decay_split
from mimgen.training.processes import train_mode
from mimgen.types import Batch, Losses


def _settings(**changes: object) -> Settings:
    return run_settings(**{"steps": 4, "warmup": 0, **changes})


def test_accumulation_equals_the_whole_batch(tmp_path: Path) -> None:
    whole, halves = Toy(dropout=0), Toy(dropout=0)
    one = fit(whole, ToyBatches(8), _settings(), tmp_path / "1")
    two = fit(halves, ToyBatches(8), _settings(accumulation=2), tmp_path / "2")
    for left, right in zip(whole.parameters(), halves.parameters(), strict=True):
        torch.testing.assert_close(left, right, rtol=1e-5, atol=1e-6)
    for line, other in zip(one.losses, two.losses, strict=True):
        assert line["loss"] == pytest.approx(other["loss"], rel=1e-5)
        assert line["grad_norm"] == pytest.approx(other["grad_norm"], rel=1e-4)


def test_uneven_division_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="batch_size=8 does not divide"):
        fit(Toy(), ToyBatches(8), _settings(accumulation=3), tmp_path)


def test_a_poisoned_step_changes_nothing(tmp_path: Path) -> None:
    """Step 2 reads a NaN: weights, buffers, averages and moments stay; the steps around it count."""
    before, after = Toy(dropout=0), Toy(dropout=0)
    fit(before, ToyBatches(8), _settings(steps=1), tmp_path / "a")
    result = fit(after, ToyBatches(8, poison=frozenset({1})), _settings(steps=2), tmp_path / "b")
    # One schedule for both: without warm-up the first rate is the peak whatever the length.
    for (name, left), right in zip(before.state_dict().items(), after.state_dict().values(), strict=True):
        assert torch.equal(left, right), name
    assert [line["step"] for line in result.losses] == [1]
    healthy = fit(after, ToyBatches(8, poison=frozenset({1})), _settings(steps=4), tmp_path / "b")
    assert healthy.losses[-1]["skipped"] == 1
    assert healthy.losses[-1]["step"] == 4


def test_too_many_poisoned_steps_stop_with_the_batch(tmp_path: Path) -> None:
    poison = frozenset(range(3, 99))
    settings = _settings(steps=20, save_every=2, non_finite_limit=3)
    with pytest.raises(UserError, match="step 6: the loss error, size is not finite") as caught:
        fit(Toy(), ToyBatches(8, poison=poison), settings, tmp_path)
    path = tmp_path / "non_finite" / "step-00000006-rank-0.safetensors"
    assert str(path) in str(caught.value)
    with safe_open(path, "pt") as file:
        images = file.get_tensor("0.images")
        reported = {name: json.loads(value) for name, value in file.metadata().items()}
    assert images.shape == (8, 3, 4, 4)
    assert images.isnan().sum() == 1
    assert len(reported["0.rng.seeds"]) == 8
    assert reported["0.captions"][0].startswith("image")


class _BadGradient(Trainable):
    """A finite loss whose gradient is not: sqrt at 0."""

    def __init__(self) -> None:
        super().__init__()
        self.fine = nn.Parameter(torch.ones(2))
        self.bad = nn.Parameter(torch.zeros(2))

    def forward(self, batch: Batch) -> Losses:
        return Losses({"a": self.fine.sum() + self.bad.sum().sqrt() * 0 + self.bad.abs().sum().sqrt()})


def test_a_non_finite_gradient_is_traced(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="gradient of bad is not finite"):
        fit(_BadGradient(), ToyBatches(8), _settings(non_finite_limit=1), tmp_path)


def test_guard_counts_runs_and_totals() -> None:
    guard = Guard(2)
    assert not guard.skipped()
    guard.passed()
    assert not guard.skipped()
    assert guard.skipped()
    patient = Guard(2)
    answers = []
    for _ in range(20):
        answers.append(patient.skipped())
        patient.passed()
    assert answers == [False] * 19 + [True]


def test_clipping_is_by_group() -> None:
    objective = nn.ModuleDict({"large": nn.Linear(2, 2), "small": nn.Linear(2, 2)})
    for parameter in objective["large"].parameters():
        parameter.grad = torch.full_like(parameter, 100.0)
    for parameter in objective["small"].parameters():
        parameter.grad = torch.full_like(parameter, 0.01)
    groups = [list(part.parameters()) for part in objective.values()]
    norm = clip_gradients(groups, 1.0)
    assert norm == pytest.approx(100 * 6**0.5, rel=1e-4)
    assert objective["large"].weight.grad is not None
    assert objective["large"].weight.grad.norm() < 1
    assert torch.equal(objective["small"].weight.grad, torch.full((2, 2), 0.01))
    assert len(clip_groups(Toy())) == 1


def test_what_is_not_decayed() -> None:
    part = nn.ModuleDict({"linear": nn.Linear(2, 2), "table": nn.Embedding(3, 2), "norm": nn.LayerNorm(2)})
    part.register_parameter("mask_token", nn.Parameter(torch.zeros(1, 1, 2)))
    part["linear"].bias.requires_grad_(False)
    decayed, exempt = decay_split(part)
    assert [p is part["linear"].weight for p in decayed] == [True]
    assert len(exempt) == 4


def test_frozen_parts_stay_in_eval_mode() -> None:
    objective = nn.ModuleDict({"teacher": nn.Sequential(nn.Linear(2, 2), nn.Dropout()), "student": Toy()})
    objective["teacher"].requires_grad_(False)
    objective.eval()
    train_mode(objective)
    assert not objective["teacher"][1].training
    assert objective["student"].dropout.training
