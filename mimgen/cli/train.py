"""`mimgen train NAME`: run one named config."""

from __future__ import annotations

import shlex
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mimgen import configs
from mimgen.cli.options import parse
from mimgen.errors import UserError
from mimgen.ops.launch import is_main_process
from mimgen.report.run_folder import run_folder, save_result

if TYPE_CHECKING:
    from mimgen.recipes import Build, Pretrain, Run, TrainGenerator, TrainTokenizer
    from mimgen.training import Result

__all__ = ["main"]

# numbers that make no sense otherwise; where None is allowed it takes the size's own
POSITIVE = ("pixels", "batch_size", "base_lr", "patch", "codes", "keep", "iterations", "decoder_depth")
NOT_NEGATIVE = ("adversarial", "entropy", "replaced", "code_weight", "pixel_weight", "guidance")
HEADINGS = {
    "tokenizer": "Tokenizers: images to codes, and back",
    "generate": "Generators: captions or classes to images, on the codes of a tokenizer",
    "pretrain": "Encoders: images to features, learned without labels",
}


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

    _check(values)
    run = function(**values)
    with run_folder(out, ["train", *arguments], configs.source(name)):
        run = _with_tokenizer(run, out, values)
        if is_main_process():
            doing = "building" if isinstance(run, Build) else "training"
            print(f"{doing} {name} ({run.size}) on {run.data_config.spec}; everything goes to {out}/")
            if init_from := getattr(run, "init_from", None):
                print(init_from.summary())
        result = run.run(out)
    save_result(out, {"step": result.step, "interrupted": result.interrupted, "last": result.losses[-1:]})
    if is_main_process():
        print(_closing(run, result, out, arguments))
    return 0


def _check(values: dict[str, Any]) -> None:
    for name, value in values.items():
        if not isinstance(value, (int, float)):
            continue
        if (name in POSITIVE and value <= 0) or (name in NOT_NEGATIVE and value < 0):
            minimum = "above 0" if name in POSITIVE else "from 0 on"
            raise UserError(f"--{name.replace('_', '-')} {value:g}: give a number {minimum}, or leave it out")


def _with_tokenizer(run: Run, out: Path, values: dict[str, Any]) -> Run:
    """A generator's run with a tokenizer: the one given, or one of the same size trained first."""
    from mimgen.recipes import TrainGenerator

    if not isinstance(run, TrainGenerator) or run.tokenizer is not None:
        return run
    return run.with_tokenizer(_train_tokenizer(run, out / "tokenizer-run", values))


def _train_tokenizer(run: TrainGenerator, out: Path, values: dict[str, Any]) -> Path:
    from mimgen.recipes import load_tokenizer

    shared = {key: values[key] for key in ("size", "data", "pixels", "precision", "tracker", "seed")}
    shared["size"] = run.tokenizer_size or shared["size"]
    config = run.tokenizer_config
    first = configs.experiment(config)(**shared)
    done = (out / "tokenizer" / "config.json").is_file()
    if not done:
        print(f"no --tokenizer given: training one first ({config}, {first.size}), into {out}/")
        flags = [f"--{key}={value}" for key, value in shared.items() if value is not None]
        with run_folder(out, ["train", config, *flags], configs.source(config)):
            result = first.run(out)
        if result.interrupted:
            raise KeyboardInterrupt
    load_tokenizer(out)
    return out / "tokenizer"


def _listing() -> str:
    known = configs.names()
    width = max(map(len, known))
    parts = []
    for folder, heading in HEADINGS.items():
        names = [name for name, module in known.items() if module.split(".")[-2] == folder]
        parts.append("\n".join([heading, *(f"  {name.ljust(width)}  {configs.summary(name)}" for name in names)]))
    listed = "\n\n".join(parts)
    return (
        "usage: mimgen train CONFIG [--flag value ...]        mimgen train CONFIG --help lists the flags of one\n\n"
        f"{listed}\n\n"
        "For example, in less than a minute:\n"
        "  mimgen train meissonic --size tiny --steps 200"
    )


def _closing(run: Run, result: Result, out: Path, arguments: list[str]) -> str:
    """What to do next."""
    from mimgen.recipes import Pretrain, TrainGenerator

    if result.interrupted:
        command = shlex.join(["mimgen", "train", *arguments])
        return f"stopped at step {result.step} with a checkpoint; the same command resumes from there:\n  {command}"
    if isinstance(run, TrainGenerator) and run.name != "meissonic":
        asked = "" if run.name == "mage" else "--class 0 "
        return (
            f"done. Images from it:\n  mimgen generate {asked}--model {out} --out image.png\n"
            f"Its score:\n  mimgen evaluate generation --model {out} --reference {run.data_config.spec}"
        )
    if isinstance(run, TrainGenerator):
        return (
            f"done. Images from it:\n  mimgen generate \"a caption\" --model {out} --out image.png\n"
            f"Its score:\n  mimgen evaluate composition --model {out}"
        )
    if isinstance(run, Pretrain):
        return _encoder_closing(run, out)
    return _tokenizer_closing(run, out)


def _encoder_closing(run: Pretrain, out: Path) -> str:
    from mimgen.recipes import Volumes

    averaged = ", with averaged weights" if run.settings.ema else ""
    done = f"done. The encoder{averaged}: {out / 'encoder'}/"
    if isinstance(run.data_config, Volumes):
        return done  # probes and tokenizers read images
    return (
        f"{done}\nWhat can be read off it:\n  mimgen probe --model {out} --data {run.data_config.spec}\n"
        f"Codes that predict its features:\n  mimgen train vqkd --size {run.size} --data {run.data_config.spec} "
        f"--teacher {out / 'encoder'}"
    )


def _tokenizer_closing(run: TrainTokenizer | Build, out: Path) -> str:
    from mimgen.tokenizers.open import decodes_images

    if not decodes_images(out / "tokenizer"):
        return (
            f"done: {out / 'tokenizer'}/\nIts codes stand for features: targets of masked image modelling, from which "
            "no image comes back."
        )
    return (
        f"done. How well it reconstructs:\n  mimgen evaluate reconstruction --model {out}\n"
        f"Does it fit other images?\n  mimgen data doctor --tokenizer {out} --data my_pictures/\n"
        f"A generator on it:\n  mimgen train meissonic --size {_generator_size(run.size)} --data "
        f"{run.data_config.spec} "
        f"--pixels {run.data_config.size} --tokenizer {out}"
    )


def _generator_size(size: str) -> str:
    """The generator's size of that name; where it has none of the name, the small one that suits any images."""
    try:
        configs.experiment("meissonic")(size=size)
    except UserError:
        return "emoji64"
    return size
