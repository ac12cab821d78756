"""Checkpoints are whole or absent."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mimgen import files
from mimgen.errors import UserError
from mimgen.training import checkpoint as store


def _checkpoint(step: int) -> store.Checkpoint:
    tensors = {"weight": torch.full((2, 2), float(step)), "turned": torch.arange(6.0).view(2, 3).T}
    return store.Checkpoint(model=tensors, ema=tensors, optimizer={}, state={"step": step})


def _names(run: Path) -> list[str]:
    return sorted(path.name for path in (run / "checkpoints").iterdir())


def test_round_trip_and_last_kept(tmp_path: Path) -> None:
    for step in (5, 90, 100):
        store.save_checkpoint(tmp_path, _checkpoint(step), keep=2)
    assert _names(tmp_path) == ["step-00000090", "step-00000100"]
    latest = store.newest(tmp_path)
    assert latest is not None
    loaded = store.load_checkpoint(latest)
    assert loaded.state == {"step": 100}
    assert torch.equal(loaded.model["turned"], torch.arange(6.0).view(2, 3).T)


def test_crash_while_writing_leaves_the_old_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.save_checkpoint(tmp_path, _checkpoint(1), keep=1)

    def crash(source: Path, target: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(files.os, "replace", crash)
        patch.setattr(files.shutil, "rmtree", lambda *path, **options: None)  # as if the process had been killed
        with pytest.raises(KeyboardInterrupt):
            store.save_checkpoint(tmp_path, _checkpoint(2), keep=1)
    assert [name.split(".")[1] for name in _names(tmp_path)[:-1]] == ["step-00000002"]
    latest = store.newest(tmp_path)
    assert latest is not None
    assert latest.name == "step-00000001"
    store.clean(tmp_path)
    assert _names(tmp_path) == ["step-00000001"]
    store.save_checkpoint(tmp_path, _checkpoint(2), keep=1)
    assert _names(tmp_path) == ["step-00000002"]


def test_everything_is_on_disk_before_the_rename(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[str] = []
    real_sync, real_replace = files.sync, files.os.replace
    monkeypatch.setattr(files, "sync", lambda path: (events.append(f"sync {path.name}"), real_sync(path)))
    monkeypatch.setattr(
        files.os, "replace", lambda a, b: (events.append(f"rename {b.name}"), real_replace(a, b))
    )
    store.save_checkpoint(tmp_path, _checkpoint(1), keep=1)
    at = events.index("rename step-00000001")
    assert {event.removeprefix("sync ") for event in events[:at]} >= set(store._FILES)
    assert events[at - 1].startswith("sync .step-00000001")
    assert events[at + 1] == "sync checkpoints"


def test_damaged_checkpoints_are_named(tmp_path: Path) -> None:
    folder = store.save_checkpoint(tmp_path, _checkpoint(1), keep=1)
    (folder / "model.safetensors").write_bytes(b"torn")
    with pytest.raises(UserError, match="damaged"):
        store.load_checkpoint(folder)
    (folder / "model.safetensors").unlink()
    with pytest.raises(UserError, match=r"lacks model\.safetensors"):
        store.load_checkpoint(folder)


def test_shared_tensors_are_kept_once() -> None:
    module = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.Linear(3, 3), torch.nn.BatchNorm1d(3))
    module[1].weight = module[0].weight
    names = store.module_tensors(module)
    assert "0.weight" in names
    assert "1.weight" not in names
    assert {"2.running_mean", "2.num_batches_tracked"} <= names.keys()


def test_moments_of_channels_last_weights_survive(tmp_path: Path) -> None:
    """A fused optimiser reads weight and moments as flat memory, so their strides must agree."""

    def steps(count: int, conv: torch.nn.Conv2d, optimizer: torch.optim.Optimizer) -> None:
        for step in range(count):
            conv(torch.full((1, 3, 3, 3), step + 1.0)).square().sum().backward()
            optimizer.step()
            optimizer.zero_grad()

    def build() -> tuple[torch.nn.Conv2d, torch.optim.Optimizer]:
        torch.manual_seed(0)
        conv = torch.nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)
        return conv, torch.optim.AdamW(conv.parameters(), lr=0.1, fused=True)

    whole, through = build(), build()
    steps(2, *whole)
    steps(2, *through)
    tensors = store.module_tensors(through[0])
    saved = store.Checkpoint(tensors, tensors, store.optimizer_tensors(*through), {"step": 2})
    store.save_checkpoint(tmp_path, saved, keep=1)
    resumed = build()
    folder = store.newest(tmp_path)
    assert folder is not None
    loaded = store.load_checkpoint(folder)
    store.restore_module(resumed[0], loaded.model, folder)
    store.restore_optimizer(*resumed, loaded.optimizer)
    steps(2, *whole)
    steps(2, *resumed)
    assert torch.equal(whole[0].weight, resumed[0].weight)
