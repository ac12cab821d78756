"""A toy objective and a toy data source, and a command that trains them (run by the tests as a process)."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from mimgen.training import Settings, fit
from mimgen.types import Batch, Draws, Losses

SIZE = 4


class ToyBatches:
    """16 fixed pictures, in an order that is a pure function of the position."""

    def __init__(self, batch_size: int, wait: float = 0.0, poison: frozenset[int] = frozenset()) -> None:
        self.batch_size, self.wait, self.poison = batch_size, wait, poison
        self.images = torch.rand(16, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(7))

    def stream(
        self, start_step: int, *, rank: int = 0, world: int = 1, accumulation: int = 1
    ) -> Iterator[list[Batch]]:
        step, size = start_step, self.batch_size // (world * accumulation)
        while True:
            time.sleep(self.wait)
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
            captions=tuple(f"picture {i}" for i in indices),
            keys=tuple(str(i) for i in indices),
            draws=Draws.for_rows(0, step, list(rows)),
        )


class Toy(nn.Module):
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
        noisy = clean + 0.1 * batch.draws.normal(clean.shape[1]).to(clean)
        guess = self.second(self.dropout(self.first(noisy).relu()))
        if self.training:
            self.mean.lerp_(guess.detach().mean(0).to(self.mean), 0.1)
        error = (guess - clean).square().mean()
        return Losses({"error": error}, metrics={"size": guess.detach().abs().mean()})

    def after_step(self, step: int) -> None:
        self.steps.fill_(step)


def run_settings(**changes: object) -> Settings:
    """The settings of the process below, for a run beside it."""
    told = {"steps": 12, "batch_size": 8, "base_lr": 0.3, "warmup": 2, "ema": 0.9, "precision": "fp32"}
    return Settings(**{**told, "log_every": 1, "save_every": 3, "tracker": "none", **changes})


def main() -> None:
    """Train the toy; the process that tests kill."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--save-every", type=int, default=3)
    parser.add_argument("--accumulation", type=int, default=1)
    parser.add_argument("--dropout", type=float, default=0.1)
    parser.add_argument("--wait", type=float, default=0.0)
    told = parser.parse_args()
    torch.set_num_threads(1)
    objective = Toy(told.dropout)
    settings = run_settings(steps=told.steps, save_every=told.save_every, accumulation=told.accumulation)
    result = fit(objective, ToyBatches(8, wait=told.wait), settings, told.out)
    rank = torch.distributed.get_rank() if torch.distributed.is_initialized() else 0
    torch.save(dict(objective.state_dict()), told.out / f"weights-{rank}.pt")
    sys.stdout.write(f"step={result.step} interrupted={result.interrupted}\n")


if __name__ == "__main__":
    main()
