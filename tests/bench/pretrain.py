"""`python -m tests.bench pretrain`: a training step of masked modelling against lightly's and timm's supervised one.

Ours are the objectives that configs/pretrain/mae.py and simmim.py build, on plain transformers; lightly's are put
together from its public parts as in its documentation. Equal are widths, depths, decoder, mask ratio, target (plain
normalised pixels), batch, optimiser and precision. "agree" says that with the same weights and the same mask both
compute the same loss.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from mimgen.cli.options import parse
from mimgen.errors import UserError, choose
from mimgen.types import Batch, SampleRNG
from tests.bench.measure import device_and_precision, versions
from tests.bench.pretrain_peers import (
    KINDS,
    LIGHTLY,
    SHAPES,
    LightlyMae,
    LightlySimmim,
    Shape,
    absent,
    lightly_positions,
    ours,
)
from tests.bench.pretrain_steps import (
    Setting,
    mask_seconds,
    normalised,
    optimiser_seconds,
    peak_memory,
    timed_step,
)
from tests.bench.tokenizer import fastest

__all__ = ["agreement", "bench", "bench_shape", "main", "report"]

MIB = 2**20
_CLOSE = 1e-5


@dataclass(frozen=True)
class Options:
    """Time training steps of MAE and SimMIM against lightly's and against supervised training with timm.

    Attributes:
        shapes: one or several with commas: ti32 (ViT-Ti, 32 px, patches of 4), s224 (ViT-S, 224 px, patches of 16),
            b224 (ViT-B with MAE's decoder), tiny; by default ti32,s224, with a GPU b224.
        batch: images per step; by default the shape's own (64, 8, 256, 4).
        repeats: steps of each; the fastest counts.
        device: auto takes a GPU where there is one.
        precision: auto is bf16 (autocast) on a GPU and fp32 elsewhere.
        seed: of weights, images and masks.
        out: also write the result to this JSON file, and a page beside it.
    """

    shapes: str | None = None
    batch: int | None = None
    repeats: int = 5
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    seed: int = 0
    out: Path | None = None


def main(arguments: list[str]) -> int:
    """Run `python -m tests.bench pretrain`; the exit status is 1 where losses disagree with lightly's."""
    options = parse(Options, arguments, "python -m tests.bench pretrain")
    requested = {name: value for name, value in asdict(options).items() if name != "out"}
    measured = bench(**requested)
    print(report(measured))
    if options.out is not None:
        from mimgen.report.result import write_outcome

        protocol = {**requested, **{name: measured[name] for name in ("threads", "device", "precision", "versions")}}
        result = {"measure": "bench pretrain", "protocol": protocol, "scores": measured["shapes"]}
        write_outcome(options.out, result, title="Speed of pretraining")
        print(f"written to {options.out}")
    answers = [answer for shape in measured["shapes"].values() for answer in shape["agree"].values()]
    return 1 if False in answers else 0


def bench(
    shapes: str | None = None,
    batch: int | None = None,
    repeats: int = 5,
    device: str = "auto",
    precision: str = "auto",
    seed: int = 0,
) -> dict[str, Any]:
    """All shapes; arguments as in `Options`.

    Returns:
        {"shapes": what `bench_shape` returns, by name; "threads", "device", "precision", "versions"}.

    Raises:
        UserError: an unknown shape, a number that makes no sense, or a GPU asked for where there is none.
    """
    if repeats < 1 or (batch is not None and batch < 1):
        raise UserError(f"batch {batch} and repeats {repeats}: give at least 1 of each")
    device, precision = device_and_precision(device, precision)
    names = (shapes or ("b224" if device == "cuda" else "ti32,s224")).split(",")
    chosen = {name: SHAPES[choose(name, list(SHAPES), "shape")] for name in names}
    return {
        "shapes": {
            name: bench_shape(shape, Setting(batch or shape.batch, device, precision, seed), repeats)
            for name, shape in chosen.items()
        },
        "threads": torch.get_num_threads(),
        "device": device,
        "precision": precision,
        "versions": versions("timm", "lightly"),
    }


def bench_shape(shape: Shape, setting: Setting, repeats: int) -> dict[str, Any]:
    """One shape; steps alternate, so that another load on the machine meets all.

    Memory is what a step takes at most on top of the weights: gradients, moments of AdamW, activations.

    Returns:
        {"steps": {kind: {"seconds", "images_per_s", "peak_mib"} or {"missing"}}, "ratio" and "memory" (lightly's
        over ours, of "mae" and "simmim"), "agree", "default_adamw": ratio of "mae" if lightly's took PyTorch's default
        AdamW, as its examples do, instead of the same as ours, "optimiser": {"fused_s", "plain_s"} of MAE's weights,
        "masking": {strategy: {"seconds", "share" of our MAE's step}}}.
    """
    missing = {kind: absent(kind) for kind in KINDS}
    there = [kind for kind in KINDS if not missing[kind]]
    seconds = dict(zip(there, fastest(repeats, *(timed_step(kind, shape, setting) for kind in there)), strict=True))
    steps: dict[str, dict[str, Any]] = {}
    for kind in KINDS:
        if missing[kind]:
            steps[kind] = {"missing": missing[kind]}
            continue
        rate, memory = setting.batch / seconds[kind], peak_memory(kind, shape, setting) / MIB
        steps[kind] = {"seconds": seconds[kind], "images_per_s": rate, "peak_mib": memory}
    both = {kind: theirs for kind, theirs in LIGHTLY.items() if theirs in seconds}
    masks = mask_seconds((shape.pixels // shape.patch,) * 2, setting.batch, setting.device, repeats)
    optimiser = optimiser_seconds(shape, setting, repeats)
    slower = optimiser["plain_s"] - optimiser["fused_s"]
    return {
        "steps": steps,
        "ratio": {kind: seconds[theirs] / seconds[kind] for kind, theirs in both.items()},
        "memory": {kind: steps[theirs]["peak_mib"] / steps[kind]["peak_mib"] for kind, theirs in both.items()},
        "agree": {kind: agreement(kind, shape, setting.seed) for kind in both},
        "default_adamw": {kind: (seconds[both[kind]] + slower) / seconds[kind] for kind in both if kind == "mae"},
        "optimiser": optimiser,
        "masking": {name: {"seconds": took, "share": took / seconds["mae"]} for name, took in masks.items()},
    }


def agreement(kind: str, shape: Shape, seed: int = 0) -> bool:
    """Whether our "mae" or "simmim" and lightly's give the same loss with the same weights and the same mask."""
    torch.manual_seed(seed)
    objective, theirs = ours(kind, shape), (LightlyMae if kind == "mae" else LightlySimmim)(shape)
    theirs.load_weights(objective)
    images = torch.rand(2, 3, shape.pixels, shape.pixels)
    mask = objective.mask(Batch(images, rng=SampleRNG([seed, seed + 1])))
    with torch.no_grad():
        mine, other = (
            float(objective(Batch(images), mask).total),
            float(theirs(normalised(images), *lightly_positions(mask))),
        )
    return abs(mine - other) <= _CLOSE * abs(other)


def report(measured: dict[str, Any]) -> str:
    """The measurements of `bench` as text."""
    how = ", ".join(measured[name] for name in ("device", "precision"))
    lines = [f"{how}, {measured['threads']} threads; images/s, MiB that a step takes"]
    for name, shape in measured["shapes"].items():
        lines.append(name)
        for kind, row in shape["steps"].items():
            if "missing" in row:
                lines.append(f"  {kind:16} not measured: pip install {row['missing'].replace(', ', ' ')}")
            else:
                lines.append(f"  {kind:16} {row['images_per_s']:9.1f}  {row['peak_mib']:8.0f}")
        for kind, ratio in shape["ratio"].items():
            same = "the same loss" if shape["agree"][kind] else "a DIFFERENT loss: please report this"
            lines.append(
                f"  {kind}: {ratio:.2f} times as fast as lightly's, which takes {shape['memory'][kind]:.2f} times the "
                f"memory; with equal weights and masks {same}"
            )
        fused, plain = (1000 * shape["optimiser"][key] for key in ("fused_s", "plain_s"))
        lines.append(f"  AdamW alone: {fused:.1f} ms as the loop builds it, {plain:.1f} ms as PyTorch does by default")
        lines += [
            f"  {kind}: {ratio:.2f} times as fast as lightly's with that default, which its examples use"
            for kind, ratio in shape["default_adamw"].items()
        ]
        parts = (f"{strategy} {100 * row['share']:.2f} %" for strategy, row in shape["masking"].items())
        lines.append(f"  masking, share of MAE's step: {', '.join(parts)}")
    return "\n".join(lines)
