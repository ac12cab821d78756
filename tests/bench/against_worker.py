"""What `python -m tests.bench against` runs in each checkout, whose names of things may be older than this file.

Started as a file, so that `mimgen` is that of the checkout. For each line on stdin it writes the seconds of one run.
"""

from __future__ import annotations

import importlib
import sys
import time
from collections.abc import Callable
from dataclasses import fields
from typing import Any

import torch

BATCH, SEED = 64, 0


def training_step(config: str) -> Callable[[], object]:
    """A step of a config's objective at emoji64, with AdamW."""
    from mimgen import types

    torch.manual_seed(SEED)
    objective: Any = importlib.import_module(f"mimgen_configs.pretrain.{config}").experiment(size="emoji64").build()
    optimizer = torch.optim.AdamW(objective.train().parameters(), lr=1e-4, fused=True)
    images, captions, keys = torch.rand(BATCH, 3, 64, 64), ("",) * BATCH, tuple(map(str, range(BATCH)))
    # earlier commits called the random streams draws
    streams = next(name for name in ("rng", "draws") if name in {field.name for field in fields(types.Batch)})
    stream_class = getattr(types, "SampleRNG" if streams == "rng" else "Draws")

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        batch = types.Batch(images, captions, keys, **{streams: stream_class(range(BATCH))})
        objective(batch).total.backward()
        optimizer.step()

    return step


def sampling() -> Callable[[], object]:
    """An image of the bundled pipeline, at its own settings."""
    from mimgen.bundled import pipeline_folder
    from mimgen.pipelines import TextToImage

    pipeline = TextToImage.load(pipeline_folder())
    return lambda: pipeline(["red apple"], seed=SEED)


def main(row: str) -> None:
    """Answer every line."""
    answers, sys.stdout = sys.stdout, sys.stderr  # whatever else is printed is no answer
    run = sampling() if row == "sample" else training_step(row)
    run()
    for _ in sys.stdin:
        start = time.perf_counter()
        run()
        seconds = time.perf_counter() - start
        print(seconds, file=answers, flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
