"""`mimgen bench NAME`: how fast this machine is, and how good what it trains."""

from __future__ import annotations

import importlib
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from mimgen.commands import configs
from mimgen.commands.options import choose, parse

__all__ = ["main"]

USAGE = """usage: mimgen bench generate | generate-step | train | tokenizer | probe | pretrain | study [options]

  generate       a picture of Meissonic with each saving alone and with all: time, memory, operations, quality
  generate-step  a training step of Meissonic against the same model in diffusers' blocks: time, memory, loss
  train          steps of a config in fp32 and in bf16: which is faster on this machine
  tokenizer      entropy of binary codes, search in a codebook, token merging: time and memory
  probe          many probe settings at once against one by one, nearest neighbours, attentive poolings
  pretrain       a training step of MAE and SimMIM against lightly's, and supervised with timm: time, memory, loss
  study          tokenizers | mergevq | probes | scaling | mim, trained with equal budgets, side by side"""

# name -> module with a `main`
MODULES = {
    "generate": "bench_generate", "generate-step": "bench_generate_step", "tokenizer": "bench_tokenizer",
    "probe": "bench_probe", "pretrain": "bench_pretrain", "study": "study",
}  # fmt: skip


@dataclass(frozen=True)
class Train:
    """Time training steps of a config in fp32 and bf16.

    Attributes:
        config: vqgan or another tokenizer's config.
        size: size of the config.
        steps: steps to time in each precision.
        seconds: most seconds spent in each precision.
    """

    config: str = "vqgan"
    size: str = "tiny"
    steps: int = 20
    seconds: float = 60.0


def main(arguments: list[str]) -> int:
    """Run the benchmark named first."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(USAGE)
        return 0
    name, *rest = arguments
    choose(name, [*MODULES, "train"], "benchmark")
    if name == "train":
        return _train(rest)
    status: int = importlib.import_module(f"mimgen.commands.{MODULES[name]}").main(rest)
    return status


def _train(arguments: list[str]) -> int:
    options = parse(Train, arguments, "mimgen bench train")
    fp32, bf16 = _rate(options, "fp32"), _rate(options, "bf16")
    print(f"fp32: {fp32:.1f} images/s\nbf16: {bf16:.1f} images/s, {bf16 / fp32:.2f} times as fast")
    print("--precision auto, the default, takes bf16 where the device has instructions for it; nothing is timed")
    return 0


def _rate(options: Train, precision: Literal["fp32", "bf16"]) -> float:
    """Pictures a second; the first log line is left out, since it includes warming up."""
    run = configs.training(options.config, size=options.size, steps=options.steps, precision=precision)
    settings = replace(
        run.settings, tracker="none", time_limit=options.seconds, log_every=max(1, options.steps // 4),
        sample_every=options.steps + 1, save_every=options.steps + 1,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        losses = replace(run, settings=settings).run(Path(folder)).losses
    rates = [float(line["images_per_s"]) for line in losses]
    return sum(rates[1:]) / len(rates[1:]) if len(rates) > 1 else rates[0]
