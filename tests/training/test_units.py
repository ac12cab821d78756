"""Schedule, average and log, each alone."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from training_toy import Toy, ToyBatches

from mimgen.errors import UserError
from mimgen.training import Settings, fit
from mimgen.training.ema import Ema
from mimgen.training.log import Meter, trim
from mimgen.training.schedule import learning_rate


def test_schedule_rises_and_falls() -> None:
    rates = [learning_rate(s, peak=1.0, steps=110, warmup=10, min_ratio=0.1) for s in range(130)]
    assert rates[0] == pytest.approx(1 / 11)
    assert rates[10] == 1.0
    assert rates[60] == pytest.approx(0.55)
    assert rates[110:] == pytest.approx([0.1] * 20)
    assert rates[:11] == sorted(rates[:11])
    assert rates[10:] == sorted(rates[10:], reverse=True)


def test_effective_rate_follows_the_batch() -> None:
    assert Settings(steps=1, batch_size=1024, base_lr=1e-4).lr == pytest.approx(4e-4)


def test_ema_averages_and_swaps() -> None:
    module = nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        module.weight.fill_(0.0)
    ema = Ema(module, decay=0.5)
    with torch.no_grad():
        module.weight.fill_(1.0)
    ema.update(1)  # the ramp: decay 2/11
    assert ema.shadow["weight"].item() == pytest.approx(9 / 11)
    ema.update(1000)
    assert ema.shadow["weight"].item() == pytest.approx(1 - 0.5 * 2 / 11)
    with ema.applied():
        assert module.weight.item() == pytest.approx(1 - 1 / 11)
    assert module.weight.item() == 1.0


def test_ema_of_zero_is_the_live_weights() -> None:
    module = nn.Linear(3, 3)
    ema = Ema(module, decay=0.0)
    with torch.no_grad():
        module.weight.normal_()
    ema.update(5)
    assert torch.equal(ema.shadow["weight"], module.weight)




def test_meter_and_trim(tmp_path: Path) -> None:
    meter = Meter()
    meter.add({"a": 1.0})
    meter.add({"a": 3.0, "b": 5.0})
    meter.add_timing(8, 2.0)
    assert meter.pop_means() == {"a": 2.0, "b": 5.0, "images_per_s": 4.0}
    path = tmp_path / "log.jsonl"
    path.write_text('{"step": 1}\n{"step": 2}\n{"st')
    assert trim(path, 1) == [{"step": 1}]
    assert path.read_text() == '{"step": 1}\n'


def test_outputs_of_a_run(tmp_path: Path) -> None:
    """Log, settings, grids under averaged weights in eval mode, tensorboard; training is not disturbed."""
    seen: list[tuple[int, bool, float]] = []

    def images(objective: nn.Module, step: int) -> dict[str, Tensor]:
        seen.append((step, objective.training, next(objective.parameters()).sum().item()))
        torch.rand(9)  # a careless caller must not move the run's random numbers
        return {"noise": torch.rand(5, 3, 4, 4)}

    settings = Settings(steps=4, batch_size=8, base_lr=0.3, precision="fp32", log_every=2, sample_every=2)
    with_images, without = Toy(), Toy()
    result = fit(with_images, ToyBatches(8), settings, tmp_path / "a", images=images)
    fit(without, ToyBatches(8), settings, tmp_path / "b")
    assert torch.equal(with_images.first.weight, without.first.weight)
    assert with_images.training
    assert [(step, training) for step, training, _ in seen] == [(2, False), (4, False)]
    assert seen[-1][2] != with_images.first.weight.sum().item()
    assert {"step", "loss", "error", "lr", "grad_norm", "images_per_s", "seconds"} <= result.losses[0].keys()
    assert result.losses[0]["peak_memory_mib"] > 10
    lines = (tmp_path / "a" / "log.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == result.losses
    assert Image.open(tmp_path / "a" / "samples" / "step-00000004-noise.png").size == (8, 12)
    assert list((tmp_path / "a" / "tensorboard").glob("events*"))
    reported = json.loads((tmp_path / "a" / "settings.json").read_text())
    assert reported["effective_lr"] == pytest.approx(0.3 * 8 / 256)
    assert reported["resolved_precision"] == "fp32"


def test_wandb_gets_the_scalars_and_is_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[str, object]] = []
    run = SimpleNamespace(  # no other methods, so a call that wandb does not have fails here too
        log=lambda values, step: calls.append(("log", step)), finish=lambda: calls.append(("finish", None))
    )
    fake = SimpleNamespace(init=lambda **options: run, util=SimpleNamespace(generate_id=lambda: "abc"))
    monkeypatch.setitem(sys.modules, "wandb", fake)
    fit(Toy(), ToyBatches(8), Settings(steps=2, batch_size=8, log_every=1, tracker="wandb"), tmp_path)
    assert calls == [("log", 1), ("log", 2), ("finish", None)]
    assert (tmp_path / "wandb_id").read_text() == "abc"


def test_missing_wandb_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "wandb", None)
    with pytest.raises(UserError, match="pip install wandb"):
        fit(Toy(), ToyBatches(8), Settings(steps=1, batch_size=8, tracker="wandb"), tmp_path)


@pytest.mark.parametrize(
    ("name", "value"), [("precision", "fp16"), ("tracker", "x"), ("ema", 1.0), ("keep", 0), ("steps", -1)]
)
def test_wrong_settings(name: str, value: object) -> None:
    with pytest.raises(UserError, match=name):
        Settings(**{"steps": 1, name: value})
