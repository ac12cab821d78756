"""`mimgen bench CONFIG`: how fast this machine trains a config, in fp32 and in bf16."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from mimgen import configs
from mimgen.cli.options import parse

__all__ = ["main"]

USAGE = """usage: mimgen bench CONFIG [options]        mimgen bench CONFIG --help lists the options

Steps of a config in fp32 and in bf16: which is faster on this machine."""


@dataclass(frozen=True)
class Bench:
    """Time training steps of a config in fp32 and bf16.

    Attributes:
        size: size of the config.
        steps: steps to time in each precision.
        seconds: most seconds spent in each precision.
    """

    size: str = "tiny"
    steps: int = 20
    seconds: float = 60.0


def main(arguments: list[str]) -> int:
    """Time the config named first."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(USAGE)
        return 0
    name, *rest = arguments
    options = parse(Bench, rest, f"mimgen bench {name}")
    fp32, bf16 = _rate(name, options, "fp32"), _rate(name, options, "bf16")
    print(f"fp32: {fp32:.1f} images/s\nbf16: {bf16:.1f} images/s, {bf16 / fp32:.2f} times as fast")
    return 0


def _rate(name: str, options: Bench, precision: Literal["fp32", "bf16"]) -> float:
    """Images per second; the first log line is left out, since it includes warming up."""
    run = configs.training(name, size=options.size, steps=options.steps, precision=precision)
    settings = replace(
        run.settings, tracker="none", time_limit=options.seconds, log_every=max(1, options.steps // 4),
        sample_every=options.steps + 1, save_every=options.steps + 1,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        losses = replace(run, settings=settings).run(Path(folder)).losses
    rates = [float(line["images_per_s"]) for line in losses]
    return sum(rates[1:]) / len(rates[1:]) if len(rates) > 1 else rates[0]
