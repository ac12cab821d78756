"""A toy objective and a toy data source, and a command that trains them (run by the tests as a process)."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import torch
from torch import Tensor, nn

from mimgen.training import Settings, Trainable, fit
from mimgen.types import Batch, Losses, SampleRNG

SIZE = 4


class ToyBatches:
    """16 fixed images, in an order that is a pure function of the position.

    Before the batches of step number `hold`, counted from 0, it waits until the file `go` is there.
    """

    def __init__(
        self, batch_size: int, poison: frozenset[int] = frozenset(), hold: int = -1, go: Path | None = None
    ) -> None:
        self.batch_size, self.poison, self.hold, self.go = batch_size, poison, hold, go
        self.images = torch.rand(16, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(7))

    def stream(
        self, start_step: int, *, rank: int = 0, world: int = 1, accumulation: int = 1
    ) -> Iterator[list[Batch]]:
        step, size = start_step, self.batch_size // (world * accumulation)
        while True:
            while step == self.hold and self.go is not None and not self.go.exists():
                time.sleep(0.01)
            starts = [(rank * accumulation + micro) * size for micro in range(accumulation)]
            yield [self._batch(step, range(start, start + size)) for start in starts]
            step += 1

    def _batch(self, step: int, rows: range) -> Batch:
        indices = [(step * self.batch_size + row) * 5 % 16 for row in rows]
        images = self.images[indices].clone()
        if step in self.poison:
            images[0, 0, 0, 0] = float("nan")
        return Batch(
            images=images,
            captions=tuple(f"image {i}" for i in indices),
            keys=tuple(str(i) for i in indices),
            rng=SampleRNG.for_rows(0, step, list(rows)),
        )


class Toy(Trainable):
    """Two layers that remove noise; dropout uses the global generator, `steps` is a buffer."""

    steps: Tensor

    def __init__(self, dropout: float = 0.1) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        width = 3 * SIZE * SIZE
        self.first, self.second = nn.Linear(width, 8), nn.Linear(8, width)
        for parameter in self.parameters():
            nn.init.normal_(parameter, std=0.1, generator=generator)
        self.dropout = nn.Dropout(dropout)
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def forward(self, batch: Batch) -> Losses:
        clean = batch.images.flatten(1)
        noisy = clean + 0.1 * batch.rng.normal(clean.shape[1]).to(clean)
        predicted = self.second(self.dropout(self.first(noisy).relu()))
        if self.training:
            self.mean.lerp_(predicted.detach().mean(0).to(self.mean), 0.1)
        error = (predicted - clean).square().mean()
        return Losses({"error": error}, metrics={"size": predicted.detach().abs().mean()})

    def after_step(self, step: int) -> None:
        self.steps.fill_(step)


def run_settings(**changes: object) -> Settings:
    """The settings of the process below, for a run beside it."""
    reported = {"steps": 12, "batch_size": 8, "base_lr": 0.3, "warmup": 2, "ema": 0.9, "precision": "fp32"}
    return Settings(**{**reported, "log_every": 1, "save_every": 3, "tracker": "none", **changes})


def main() -> None:
    """Train the toy; the process that tests kill."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--save-every", type=int, default=3)
    parser.add_argument("--accumulation", type=int, default=1)
    parser.add_argument("--dropout", type=float, default=0.1)
    parser.add_argument("--hold", type=int, default=-1)
    reported = parser.parse_args()
    torch.set_num_threads(1)
    objective = Toy(reported.dropout)
    settings = run_settings(steps=reported.steps, save_every=reported.save_every, accumulation=reported.accumulation)
    result = fit(objective, ToyBatches(8, hold=reported.hold, go=reported.out / "go"), settings, reported.out)
    several = torch.distributed.is_initialized()
    rank = torch.distributed.get_rank() if several else 0
    torch.save(dict(objective.state_dict()), reported.out / f"weights-{rank}.pt")
    sys.stdout.write(f"step={result.step} interrupted={result.interrupted}\n")
    if several:
        end_at_once()


def end_at_once() -> None:
    """Reduce some tensors, and let no other thread have the interpreter before this process ends.

    Where the process group outlives the interpreter, about every fourth such end is an abort.
    """
    sys.stdout.flush()
    sys.setswitchinterval(1000)
    tensors = [torch.ones(200_000) for _ in range(20)]
    for work in [torch.distributed.all_reduce(tensor, async_op=True) for tensor in tensors]:
        work.wait()


def leave() -> NoReturn:
    """End one of several processes whose weights are split, with status 0.

    PyTorch's caches of split tensors keep the process group, and so its threads, beyond `destroy_process_group`; a
    thread that then waits for the interpreter while that ends aborts the process. So it does not end, only the process.
    """
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
