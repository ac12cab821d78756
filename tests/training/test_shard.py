"""Weights split as FSDP2 splits them: same steps, whole checkpoints, exact restore (two gloo processes)."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import distributed, nn
from training_toy import Toy, ToyBatches, leave, run_settings

from mimgen.training import checkpoint as store
from mimgen.training import fit
from mimgen.training.ema import Ema
from mimgen.training.optim import build_optimizer, clip_gradients, clip_groups
from mimgen.training.shard import full_tensor

ROOT = Path(__file__).parents[2]
STEPS, CLIP = 3, 0.05


def _split(objective: nn.Module) -> nn.Module:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh("cpu", (2,))
    for part in (objective.first, objective.second):
        fully_shard(part, mesh=mesh)
    fully_shard(objective, mesh=mesh)
    return objective


def _parts() -> tuple[nn.Module, torch.optim.Optimizer, Ema]:
    objective = _split(Toy(dropout=0))
    optimizer = build_optimizer(objective, lr=0.3 * 8 / 256, betas=(0.9, 0.99), weight_decay=0.05)
    return objective, optimizer, Ema(objective, 0.9)


def main(out: Path) -> None:
    """One of the two processes."""
    distributed.init_process_group("gloo")
    rank = distributed.get_rank()
    objective, optimizer, ema = _parts()
    stream = ToyBatches(8).stream(0, rank=rank, world=2)
    for step in range(1, STEPS + 1):
        optimizer.zero_grad()
        objective(next(stream)[0]).total.backward()
        clip_gradients(clip_groups(objective), CLIP)
        optimizer.step()
        ema.update(step)
    model = {name: full_tensor(tensor) for name, tensor in store.module_tensors(objective).items()}
    averages = {name: full_tensor(tensor) for name, tensor in ema.shadow.items()}
    moments = store.optimizer_tensors(objective, optimizer)
    saved = store.Checkpoint(model, {**model, **averages}, moments, {"step": STEPS})
    if rank == 0:
        store.save_checkpoint(out, saved, keep=1)
    distributed.barrier()
    again, other_optimizer, other_ema = _parts()
    folder = store.newest(out)
    loaded = store.load_checkpoint(folder)
    store.restore_module(again, loaded.model, folder)
    store.restore_optimizer(again, other_optimizer, loaded.optimizer)
    other_ema.load(loaded.ema)
    for mine, theirs in zip(objective.parameters(), again.parameters(), strict=True):
        assert torch.equal(mine.to_local(), theirs.to_local())
        for name, value in optimizer.state[mine].items():
            assert torch.equal(full_tensor(value), full_tensor(other_optimizer.state[theirs][name])), name
    for name, average in ema.shadow.items():
        assert torch.equal(average.to_local(), other_ema.shadow[name].to_local()), name
    # A restored run must be able to step: moments and weights are split alike.
    objective(next(stream)[0]).total.backward()
    for mine, theirs in zip(objective.parameters(), again.parameters(), strict=True):
        theirs.grad = mine.grad
    other_optimizer.step()
    leave()


def test_split_weights_make_the_same_run(tmp_path: Path) -> None:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [*launcher, __file__, str(tmp_path / "two")],
        cwd=ROOT,
        env=environment,
        text=True,
        capture_output=True,
        timeout=600,  # against hanging only: a busy machine takes long to start processes
    )
    assert done.returncode == 0, done.stderr[-3000:]
    settings = run_settings(steps=STEPS, warmup=0, min_lr_ratio=1.0, clip=CLIP)
    fit(Toy(dropout=0), ToyBatches(8), settings, tmp_path / "one")
    for name in ("model", "ema", "optimizer"):
        folder = f"checkpoints/step-{STEPS:08d}/{name}.safetensors"
        one, two = load_file(tmp_path / "one" / folder), load_file(tmp_path / "two" / folder)
        assert one.keys() == two.keys()
        for key in one.keys() - {"mean", "steps"}:
            torch.testing.assert_close(one[key], two[key], rtol=1e-4, atol=1e-6, msg=f"{name}: {key}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
