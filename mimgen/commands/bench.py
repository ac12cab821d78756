"""`mimgen bench NAME`: how fast this machine is, and how good what it trains."""

from __future__ import annotations

import importlib
import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

from mimgen.commands import configs
from mimgen.commands.options import choose, parse

__all__ = ["main"]

USAGE = """usage: mimgen bench sampler | train | tokenizer | probe | pretrain | study [options]

  sampler    logits of the masked tokens only against logits of all tokens
  train      steps of a config in fp32 and in bf16: which is faster on this machine
  tokenizer  entropy of binary codes, search in a codebook, token merging: time and memory
  probe      many probe settings at once against one by one, nearest neighbours, attentive poolings
  pretrain   a training step of MAE and SimMIM against lightly's, and supervised with timm: time, memory, loss
  study      tokenizers | mergevq | probes | scaling | mim, trained with equal budgets, side by side"""


@dataclass(frozen=True)
class Sampler:
    """Time sampling with logits of the masked tokens only against logits of all tokens.

    Attributes:
        tokens: tokens of a picture.
        codes: size of the codebook.
        width: width of the model.
        steps: unmasking steps.
        batch: pictures at a time.
        repeats: runs of each kind; the fastest counts.
    """

    tokens: int = 256
    codes: int = 8192
    width: int = 256
    steps: int = 12
    batch: int = 4
    repeats: int = 3


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
    choose(name, ["sampler", "train", "tokenizer", "probe", "pretrain", "study"], "benchmark")
    if name in ("tokenizer", "probe", "pretrain", "study"):
        module = importlib.import_module(f"mimgen.commands.{'study' if name == 'study' else f'bench_{name}'}")
        status: int = module.main(rest)
        return status
    return _sampler(rest) if name == "sampler" else _train(rest)


def _sampler(arguments: list[str]) -> int:
    options = parse(Sampler, arguments, "mimgen bench sampler")

    from mimgen.commands.bench_sampler import bench

    measured = bench(**asdict(options))
    print(f"logits of all tokens:    {measured['full_s']:.2f} s")
    print(f"of the masked ones only: {measured['masked_s']:.2f} s, {measured['ratio']:.2f} times as fast")
    print("both give the same tokens" if measured["same_tokens"] else "the tokens DIFFER: please report this")
    return 0 if measured["same_tokens"] else 1


def _train(arguments: list[str]) -> int:
    options = parse(Train, arguments, "mimgen bench train")
    fp32, bf16 = _rate(options, "fp32"), _rate(options, "bf16")
    print(f"fp32: {fp32:.1f} images/s\nbf16: {bf16:.1f} images/s, {bf16 / fp32:.2f} times as fast")
    print("--precision auto, the default, takes the faster of the two by itself")
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
