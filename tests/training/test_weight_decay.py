"""A weight decay that changes over the run."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn
from training_toy import Toy, ToyBatches, run_settings

from mimgen.errors import UserError
from mimgen.training import Settings, fit
from mimgen.training.optim import build_optimizer, set_decay
from mimgen.training.schedule import weight_decay
from mimgen.types import Batch

SETTINGS = Settings(steps=6, weight_decay=0.04, weight_decay_end=0.4)


def test_it_follows_half_a_cosine() -> None:
    decays = [weight_decay(step, start=0.04, end=0.4, steps=100) for step in range(110)]
    assert decays[0] == pytest.approx(0.04) and decays[50] == pytest.approx(0.22)
    assert decays[100:] == pytest.approx([0.4] * 10)
    assert decays == sorted(decays)


def test_what_is_exempt_stays_exempt() -> None:
    optimizer = build_optimizer(nn.Linear(3, 3), lr=1.0, betas=(0.9, 0.99), weight_decay=0.04)
    set_decay(optimizer, 0.3)
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.3, 0.0]


class ShortBatches(ToyBatches):
    """The same batches, three at a time."""

    def stream(self, start_step: int, **options: int) -> Iterator[list[Batch]]:
        return itertools.islice(super().stream(start_step, **options), 3)


def test_a_resumed_run_has_the_same_decay(tmp_path: Path) -> None:
    settings = run_settings(steps=6, weight_decay=0.04, weight_decay_end=0.4)
    whole, parts, constant = Toy(), Toy(), Toy()
    fit(whole, ToyBatches(8), settings, tmp_path / "whole")
    with pytest.raises(UserError, match="data ended at step 3"):
        fit(Toy(), ShortBatches(8), settings, tmp_path / "parts")
    fit(parts, ToyBatches(8), settings, tmp_path / "parts")
    assert torch.equal(whole.first.weight, parts.first.weight)
    fit(constant, ToyBatches(8), replace(settings, weight_decay_end=None), tmp_path / "constant")
    assert not torch.equal(whole.first.weight, constant.first.weight)


def test_settings() -> None:
    assert SETTINGS.binding()["weight_decay_end"] == 0.4
    assert "weight_decay_end" not in replace(SETTINGS, weight_decay_end=None).binding()
    with pytest.raises(UserError, match="above 0"):
        replace(SETTINGS, weight_decay=0.0)
