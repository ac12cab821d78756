"""How long mask strategies take, those that follow a guide too; the guide's own making is not counted."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from mimgen.masking.block import Block
from mimgen.masking.random import Random
from mimgen.methods.attmask import AttentionMasking
from mimgen.methods.hpm.masking import Hard
from mimgen.types import Mask, SampleRNG
from tests.bench.tokenizer import fastest

__all__ = ["mask_seconds"]


def mask_seconds(grid: tuple[int, int], batch: int, device: str = "cpu", repeats: int = 5) -> dict[str, float]:
    """Least seconds of each strategy for a batch, its random streams included.

    "hpm" masks half of its patches by their predicted loss, "attmask" those most attended, with hints.

    Args:
        grid: rows and columns of patches.
        batch: images.
        device: of the guide; the masks are used there.
        repeats: runs of each.
    """
    patches = grid[0] * grid[1]
    guide = torch.rand(batch, patches, generator=torch.Generator().manual_seed(0)).to(device)
    count = round(0.4 * patches)
    strategies: dict[str, Callable[[SampleRNG], Mask]] = {
        "random": partial(Random(), grid),
        "block": partial(Block(count, max(1, min(16, count // 4))), grid),
        "hpm": partial(_guided, Hard(), grid, guide),
        "attmask": partial(_guided, AttentionMasking("hints"), grid, guide),
    }
    # several at once, or the clock decides
    times = 1 + 16 // batch
    runs = [partial(_run, strategy, batch, device, times) for strategy in strategies.values()]
    for run in runs:
        run()
    return {name: took / times for name, took in zip(strategies, fastest(repeats, *runs), strict=True)}


def _guided(
    strategy: Callable[[tuple[int, int], SampleRNG, Tensor], Mask], grid: tuple[int, int], guide: Tensor, rng: SampleRNG
) -> Mask:
    return strategy(grid, rng, guide)


def _run(strategy: Callable[[SampleRNG], Mask], batch: int, device: str, times: int) -> None:
    for _ in range(times):
        # read back, which waits for a GPU
        bool(strategy(SampleRNG(range(batch))).masked.to(device)[0, 0])
