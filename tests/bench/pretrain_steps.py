"""The single steps that `python -m tests.bench pretrain` times, and what they take."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from mimgen.encoders.vit import IMAGENET_MEAN, IMAGENET_STD
from mimgen.masking.block import Block
from mimgen.masking.random import Random
from mimgen.methods.attmask import AttentionMasking
from mimgen.methods.hpm.masking import Hard
from mimgen.training.optim import build_optimizer
from mimgen.types import Mask, SampleRNG
from tests.bench.peak_memory import step_memory
from tests.bench.pretrain_peers import LIGHTLY, SHAPES, Shape, ours, peer
from tests.bench.tokenizer import fastest

__all__ = ["Setting", "mask_seconds", "normalised", "optimiser_seconds", "peak_memory", "timed_step"]

RATE, BETAS, DECAY = 1e-4, (0.9, 0.95), 0.05


@dataclass(frozen=True)
class Setting:
    """How a step is run."""

    batch: int
    device: str = "cpu"
    precision: str = "fp32"
    seed: int = 0

    def cast(self) -> AbstractContextManager[object]:
        """Mixed precision where it is asked for."""
        return torch.autocast(self.device, torch.bfloat16, enabled=self.precision == "bf16")


def normalised(images: Tensor) -> Tensor:
    """Images in [0, 1] as lightly's and timm's data transforms leave them."""
    mean, std = (torch.tensor(values, device=images.device)[:, None, None] for values in (IMAGENET_MEAN, IMAGENET_STD))
    return (images - mean) / std


def timed_step(kind: str, shape: Shape, setting: Setting) -> Callable[[], object]:
    """A training step of the kind; it has been run once, which allocates."""
    step = _cold_step(kind, shape, setting)
    step()
    return step


def _cold_step(kind: str, shape: Shape, setting: Setting) -> Callable[[], object]:
    torch.manual_seed(setting.seed)
    module, loss = peer(kind, shape)
    module.to(setting.device).train()
    optimizer = build_optimizer(module, lr=RATE, betas=BETAS, weight_decay=DECAY)
    images = torch.rand(setting.batch, 3, shape.pixels, shape.pixels, device=setting.device)
    if kind not in LIGHTLY:
        images = normalised(images)

    def step() -> float:
        optimizer.zero_grad(set_to_none=True)
        with setting.cast():
            value = loss(images)
        value.backward()
        optimizer.step()
        return float(value.detach())  # waits for a GPU

    return step


def peak_memory(kind: str, shape: Shape, setting: Setting) -> int:
    """Bytes that one step takes on top of the weights and the images."""
    return step_memory(setting.device, _memory_step, _cold_step, (kind, shape, setting))


def _memory_step(kind: str, shape: Shape, setting: Setting) -> Callable[[], object]:
    """Everything set up, and run once at the smallest shape; what is returned makes the step to measure."""
    timed_step(kind, SHAPES["tiny"], Setting(1))
    return _cold_step(kind, shape, setting)


def optimiser_seconds(shape: Shape, setting: Setting, repeats: int) -> dict[str, float]:
    """Seconds of AdamW alone: fused, as the training loop builds it, and as torch.optim.AdamW is by default."""
    module = ours("mae", shape).to(setting.device)
    _gradients(module)
    plain = torch.optim.AdamW(module.parameters(), lr=RATE, betas=BETAS, weight_decay=DECAY)
    fused = build_optimizer(module, lr=RATE, betas=BETAS, weight_decay=DECAY)

    def run(optimizer: torch.optim.Optimizer) -> Callable[[], object]:
        def step() -> None:
            optimizer.step()
            if setting.device == "cuda":
                torch.cuda.synchronize()

        step()
        return step

    seconds = fastest(repeats, run(fused), run(plain))
    return {"fused_s": seconds[0], "plain_s": seconds[1]}


def _gradients(module: nn.Module) -> None:
    for parameter in module.parameters():
        if parameter.requires_grad:
            parameter.grad = torch.randn_like(parameter)


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
