"""`mimgen convert NAME SRC DST`: an official release to a folder of ours, or back with --reverse."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from mimgen.cli.options import parse
from mimgen.errors import UserError, choose

__all__ = ["main"]

USAGE = """usage: mimgen convert NAME SRC DST [--config FILE] [--weights model|ema] [--tokenizer FOLDER]
       mimgen convert NAME SRC DST --reverse

Read the weights of an official release from disk (nothing is downloaded) and write a folder that
mimgen loads. Every key and shape must fit; on any difference nothing is written, and all
differences are listed.

SRC is a file (.safetensors, .bin, .pt, .pth, .ckpt) or a folder; --config names the release's own
.json or .yaml where it does not lie beside SRC. Pickled files are read as tensors only.

Generators that are released without a tokenizer (halton_maskgit, mage, titok_maskgit) become a
pipeline, from which `mimgen generate` samples, with the folder of their --tokenizer.

With --reverse SRC is a folder of ours, perhaps trained further, and DST a new file (.safetensors,
.pt, .pth, .ckpt or .bin) that gets the official names and shapes.

Releases:
{releases}"""


@dataclass(frozen=True)
class Arguments:
    """Convert an official release to a folder that mimgen loads.

    Attributes:
        source: file or folder of the release.
        target: the new folder.
        config: the release's configuration (.json or .yaml), where it does not lie beside the weights.
        weights: which of the weights, where the file holds the trained ones and their moving average.
        tokenizer: folder of the tokenizer that a class-conditional or unconditional generator was trained with: the
            new folder is then a pipeline.
        reverse: write a folder of ours as a file in the official layout.
    """

    source: tyro.conf.Positional[Path]
    target: tyro.conf.Positional[Path]
    config: Path | None = None
    weights: Literal["model", "ema"] | None = None
    tokenizer: Path | None = None
    reverse: bool = False


def main(arguments: list[str]) -> int:
    """Convert the release named first; without a name, list the releases."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_listing())
        return 0
    name, *rest = arguments

    from mimgen.checkpoints.convert import convert, revert
    from mimgen.recipes.releases import releases

    known = releases()
    name = name.replace("-", "_")
    name = choose("halton_maskgit" if name == "maskgit" else name, list(known), "release")
    options = parse(Arguments, rest, f"mimgen convert {name}")
    if options.reverse:
        if any((options.config, options.weights, options.tokenizer)):
            raise UserError("--reverse takes neither --config nor --weights nor --tokenizer: the folder tells all")
        written = revert(known[name], options.source, options.target)
        print(f"wrote {options.source} to {written} with the names of {name}")
        return 0
    if options.tokenizer is not None:
        return _pipeline(name, options)
    made = convert(known[name], options.source, options.target, options.config, options.weights)
    size = sum(path.stat().st_size for path in made.rglob("*") if path.is_file())
    print(f"converted {options.source} to {made}/ ({size / 1e6:.1f} MB); what it is: {made / 'README.md'}")
    return 0


def _pipeline(name: str, options: Arguments) -> int:
    """Convert the generator, and write it with its tokenizer as a pipeline."""
    import tempfile

    from mimgen.checkpoints.convert import convert
    from mimgen.pipelines.assemble import assemble
    from mimgen.recipes.releases import releases

    assert options.tokenizer is not None
    if options.target.exists():
        raise UserError(f"{options.target} is there already: choose another folder")
    with tempfile.TemporaryDirectory() as folder:
        part = convert(releases()[name], options.source, Path(folder) / "part", options.config, options.weights)
        assemble(part, options.tokenizer).save(options.target)
    print(f"converted {options.source} to the pipeline {options.target}/; images from it:")
    print(f"  mimgen generate --model {options.target} --help")
    return 0


def _listing() -> str:
    from mimgen.recipes.releases import releases

    known = releases()
    width = max(map(len, known))
    return USAGE.format(releases="\n".join(f"  {n.ljust(width)}  {r.about}" for n, r in known.items()))
