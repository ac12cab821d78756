"""`python -m tests.bench generate`: what an image takes with each saving alone and with all, beside diffusers.

The model is Meissonic with fresh weights; text encoder and tokenizer are left out. The plain loop is what the released
pipeline computes: logits of all tokens in every step, guidance in a pass of its own, nothing kept between the steps.
All rows generate with the same seeds. Exact rows must give the same tokens as the plain loop; beside each inexact row
stands the composition score of the bundled model with the same saving (`--composition`).
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from mimgen.cli.options import parse
from mimgen.errors import UserError, choose
from tests.bench.generate_composition import compositions
from tests.bench.generate_draw import GenerationBench, Setting, cost
from tests.bench.generate_peers import absent
from tests.bench.generate_report import report
from tests.bench.generate_rows import KINDS, PLAIN_LOOP, Row, rows
from tests.bench.generate_shapes import SHAPES, Shape
from tests.bench.measure import device_and_precision, versions
from tests.bench.tokenizer import fastest

__all__ = ["bench", "bench_shape", "main", "same_tokens"]

MIB = 2**20
_COMPARED = 4  # steps in which exact rows are compared


@dataclass(frozen=True)
class Options:
    """Time generating an image with each saving alone and with all together, beside diffusers.

    With 48 steps the size small takes about an hour on two cores; begin with --steps 4 or --kinds plain,exact.

    Attributes:
        sizes: one or several with commas: small (1024 tokens of 8192 codes, width 384, 12 blocks), small-compressed
            (its blocks on half the grid), 1b (the paper's, for a GPU), tiny, tiny-compressed; by default tiny,small,
            with a GPU 1b.
        kinds: which rows, with commas: plain, exact, inexact, peer. The plain loop is always there.
        only: of these the rows whose names hold this text, such as cache.
        steps: unmasking steps of an image.
        batch: images at a time.
        guidance: scale; 1 is off.
        repeats: runs of each row; the fastest counts.
        composition: also score each inexact row on so many held-out captions of the emoji; 0 does not.
        composition_steps: unmasking steps of those images, which have 256 tokens.
        temperature: of the generate of their tokens.
        device: auto takes a GPU where there is one.
        precision: of all rows; auto is bf16 on a GPU and fp32 elsewhere.
        seed: of weights and images.
        out: also write the result to this JSON file, and a page beside it.
    """

    sizes: str | None = None
    kinds: str = ",".join(KINDS)
    only: str = ""
    steps: int = 48
    batch: int = 1
    guidance: float = 3.0
    repeats: int = 2
    composition: int = 0
    composition_steps: int = 16
    temperature: float = 0.5
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    seed: int = 0
    out: Path | None = None


def main(arguments: list[str]) -> int:
    """Run `python -m tests.bench generate`; the exit status is 1 where an exact row generates something else."""
    options = parse(Options, arguments, "python -m tests.bench generate")
    requested = {name: value for name, value in asdict(options).items() if name != "out"}
    measured = bench(**requested)
    print(report(measured))
    if options.out is not None:
        from mimgen.report.result import write_outcome

        protocol = {**requested, **{name: measured[name] for name in ("threads", "device", "precision", "versions")}}
        result = {"measure": "bench generate", "protocol": protocol, "scores": measured["sizes"]}
        write_outcome(options.out, result, title="Speed of generating an image")
        print(f"written to {options.out}")
    found = [row for size in measured["sizes"].values() for row in size["rows"].values()]
    return 1 if any(row.get("same_tokens") is False for row in found) else 0


def bench(
    sizes: str | None = None,
    kinds: str = ",".join(KINDS),
    only: str = "",
    steps: int = 48,
    batch: int = 1,
    guidance: float = 3.0,
    repeats: int = 2,
    composition: int = 0,
    composition_steps: int = 16,
    temperature: float = 0.5,
    device: str = "auto",
    precision: str = "auto",
    seed: int = 0,
) -> dict[str, Any]:
    """All sizes; arguments as in `Options`.

    Returns:
        {"sizes": what `bench_shape` returns, by name; "threads", "device", "precision", "versions", "missing": what
        must be installed for the peers}.

    Raises:
        UserError: an unknown size or kind, a number that makes no sense, or a GPU asked for where there is none.
    """
    for flag, number in (("steps", steps), ("batch", batch), ("repeats", repeats), ("steps", composition_steps)):
        if number < 1:
            raise UserError(f"{number} {flag}: give at least 1")
    if composition < 0:
        raise UserError(f"composition of {composition} prompts: give a number of prompts, or 0 for none")
    where, how = device_and_precision(device, precision)
    setting = Setting(batch, steps, guidance, where, how, seed)
    names = (sizes or ("1b" if where == "cuda" else "tiny,small")).split(",")
    shapes = {name: SHAPES[choose(name, list(SHAPES), "size")] for name in names}
    chosen = _chosen(kinds, only, rows(steps, how, where), where)
    scores = {}
    if composition:
        _print_progress(f"composition of {composition} prompts")
        scored = _chosen(kinds, only, rows(composition_steps, how, where), where)
        scores = compositions(scored, composition, composition_steps, guidance, temperature, seed)
    return {
        "sizes": {name: bench_shape(shape, setting, chosen, repeats, scores, name) for name, shape in shapes.items()},
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name() if where == "cuda" else "cpu",
        "precision": how,
        "versions": versions("diffusers", "torchao"),
        "missing": absent(),
    }


def _chosen(kinds: str, only: str, everything: list[Row], device: str) -> list[Row]:
    """The rows asked for, the plain loop first; those of diffusers or a compiler only where it is installed."""
    wanted = {choose(kind, list(KINDS), "kind") for kind in kinds.split(",")}
    if absent():
        wanted -= {"peer"}
    compiles = _compiler_there(device)
    there = [row for row in everything if row.kind in wanted and (compiles or not row.compiled)]
    found = [row for row in everything if row.name == PLAIN_LOOP or (row in there and only in row.name)]
    if only and len(found) == 1:
        names = ", ".join(row.name for row in there)
        raise UserError(f"--only {only!r}: no row of the kinds {kinds} holds this text (rows: {names})")
    return found


def _compiler_there(device: str) -> bool:
    """Whether torch.compile finds what it needs: Triton on a GPU, a C++ compiler elsewhere."""
    if device == "cuda":
        return find_spec("triton") is not None
    return any(shutil.which(name) for name in (os.environ.get("CXX") or "g++", "g++", "clang++"))


def bench_shape(
    shape: Shape, setting: Setting, chosen: list[Row], repeats: int, scores: dict[str, dict[str, Any]], name: str = ""
) -> dict[str, Any]:
    """One size; rows alternate, so that another load on the machine meets all.

    Args:
        shape: of the models.
        setting: how is generated.
        chosen: the rows, the plain loop first.
        repeats: runs of each; the fastest counts.
        scores: composition by name of the row, where it was measured.
        name: of the size, for the progress.

    Returns:
        {"parameters" of ours, "tokens" of an image, "rows": {name: {"kind", "seconds" an image, "tokens_per_s",
        "peak_mib" on top of the weights, "gflop" an image (None where a compiler masks it), "speed" and "operations",
        times the plain loop's, of exact rows "same_tokens" (see `same_tokens`) and "share", of tokens like those of the
        plain loop in this precision, and "composition" where measured}}}.
    """
    runner, runs = GenerationBench(shape, setting), {}
    for row in chosen:
        _print_progress(f"{name}: {row.name}, first run")
        runs[row.name] = _Kept(runner.warmed(row))
    _print_progress(f"{name}: timing {len(runs)} rows {repeats} times")
    seconds = dict(zip(runs, fastest(repeats, *runs.values()), strict=True))
    measured = {}
    for row in chosen:
        _print_progress(f"{name}: {row.name}, memory and operations")
        measured[row.name] = _line(row, shape, setting, seconds, runs, scores)
    _print_progress(f"{name}: comparing tokens of exact rows")
    for key, same in same_tokens(shape, setting, chosen).items():
        measured[key] |= {"same_tokens": same, "compared_steps": min(_COMPARED, setting.steps)}
    plain = measured[PLAIN_LOOP]["gflop"]
    for line in measured.values():
        line["operations"] = None if line["gflop"] is None else line["gflop"] / plain
    parameters = sum(parameter.numel() for parameter in runner.model(chosen[0]).parameters())
    return {"parameters": parameters, "tokens": shape.tokens, "rows": measured}


def same_tokens(shape: Shape, setting: Setting, chosen: list[Row]) -> dict[str, bool]:
    """Whether each exact row generates the tokens of the plain loop, in double precision and in a few steps.

    In single precision roundings differ with the order of a sum, and where two codes or two positions are
    nearly alike one of them decides; what is generated after that differs, too. (Norms, rotations and the
    mixing of guidance stay single.)
    """
    exact = [row for row in chosen if row.kind == "exact"]
    if not exact:
        return {}
    runner = GenerationBench(shape, replace(setting, precision="fp64", steps=min(_COMPARED, setting.steps)))
    plain = runner.prepare(Row(PLAIN_LOOP, "plain", "plain"))()
    return {row.name: torch.equal(runner.prepare(row)(), plain) for row in exact}


class _Kept:
    """A run that keeps what it drew."""

    def __init__(self, run: Callable[[], Tensor]) -> None:
        self.run = run

    def __call__(self) -> None:
        self.tokens = self.run()


def _line(
    row: Row,
    shape: Shape,
    setting: Setting,
    seconds: dict[str, float],
    runs: dict[str, _Kept],
    scores: dict[str, dict[str, Any]],
) -> dict[str, Any]:
    took, taken = seconds[row.name], cost(row, shape, setting)
    line: dict[str, Any] = {
        "kind": row.kind,
        "seconds": took / setting.batch,
        "tokens_per_s": setting.batch * shape.tokens / took,
        "peak_mib": taken.memory / MIB,
        "gflop": None if taken.operations is None else taken.operations / setting.batch / 1e9,
        "speed": seconds[PLAIN_LOOP] / took,
    }
    if row.kind == "exact":
        line["share"] = float((runs[row.name].tokens == runs[PLAIN_LOOP].tokens).float().mean())
    if row.name in scores:
        line["composition"] = scores[row.name]
    return line


def _print_progress(what: str) -> None:
    print(what, file=sys.stderr, flush=True)
