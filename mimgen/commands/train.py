"""`mimgen train NAME`: run one named config."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mimgen.commands import configs
from mimgen.commands.folder import begin, finish
from mimgen.commands.options import parse
from mimgen.ops.launch import first_process

if TYPE_CHECKING:
    from mimgen.recipes import Run, TrainGenerator
    from mimgen.training import Result

__all__ = ["main"]


def main(arguments: list[str]) -> int:
    """Train the config named first; without a name, list the configs."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_listing())
        return 0
    name, *flags = arguments
    function = configs.experiment(name)
    kind = configs.arguments_of(function)
    options: Any = parse(kind, flags, f"mimgen train {name}")
    values: dict[str, Any] = {field.name: getattr(options, field.name) for field in fields(kind)}
    out = values.pop("out") or Path("runs") / f"{name}-{values['size']}"

    from mimgen.recipes import Build

    run = function(**values)
    begin(out, ["train", *arguments], configs.source(name))
    run = _with_tokenizer(run, out, values)
    if first_process():
        doing = "building" if isinstance(run, Build) else "training"
        print(f"{doing} {name} ({run.size}) on {run.pictures.spec}; everything goes to {out}/")
    result = run.run(out)
    finish(out, {"step": result.step, "interrupted": result.interrupted, "last": result.losses[-1:]})
    if first_process():
        print(_closing(run, result, out, arguments))
    return 0


def _with_tokenizer(run: Run, out: Path, values: dict[str, Any]) -> Run:
    """A generator's run with a tokenizer: the one given, or one of the same size trained first."""
    from mimgen.recipes import TrainGenerator

    if not isinstance(run, TrainGenerator) or run.tokenizer is not None:
        return run
    return run.with_tokenizer(_train_tokenizer(run, out / "tokenizer-run", values))


def _train_tokenizer(run: TrainGenerator, out: Path, values: dict[str, Any]) -> Path:
    from mimgen.recipes import load_tokenizer

    shared = {key: values[key] for key in ("size", "data", "pixels", "precision", "tracker", "seed")}
    first = configs.experiment("vqgan")(**shared)
    done = (out / "tokenizer" / "config.json").is_file()
    if not done:
        print(f"no --tokenizer given: training one first (vqgan, {first.size}), into {out}/")
        begin(out, ["train", "vqgan", *(f"--{key}={value}" for key, value in shared.items() if value is not None)],
              configs.source("vqgan"))  # fmt: skip
        result = first.run(out)
        if result.interrupted:
            raise KeyboardInterrupt
    load_tokenizer(out)
    return out / "tokenizer"


def _listing() -> str:
    rows = "\n".join(f"  {name.ljust(12)} {configs.summary(name)}" for name in configs.names())
    return (
        "usage: mimgen train CONFIG [--flag value ...]\n\n"
        f"Configs (mimgen train CONFIG --help lists the flags of one):\n{rows}\n\n"
        "For example, in less than a minute:\n"
        "  mimgen train meissonic --size tiny --steps 200"
    )


def _closing(run: Run, result: Result, out: Path, arguments: list[str]) -> str:
    from mimgen.pipelines.parts import FEATURES_ONLY, class_in
    from mimgen.recipes import Pretrain, TrainGenerator

    if result.interrupted:
        command = " ".join(["mimgen train", *arguments])
        return f"stopped at step {result.step} with a checkpoint; the same command goes on from there:\n  {command}"
    if isinstance(run, TrainGenerator):
        return (
            f"done. Pictures from it:\n  mimgen generate \"a caption\" --model {out} --out picture.png\n"
            f"Its score:\n  mimgen evaluate composition --model {out}"
        )
    if isinstance(run, Pretrain):
        return f"done. The encoder, with averaged weights: {out / 'encoder'}/"
    if class_in(out / "tokenizer") in FEATURES_ONLY:
        return f"done. Its codes stand for features, so they are targets for pretraining: {out / 'tokenizer'}/"
    return (
        f"done. How well it reconstructs:\n  mimgen evaluate reconstruction --model {out}\n"
        f"Does it fit other pictures?\n  mimgen data doctor --tokenizer {out} --data my_pictures/\n"
        f"A generator on it:\n  mimgen train meissonic --size {run.size} --data {run.pictures.spec} --tokenizer {out}"
    )
