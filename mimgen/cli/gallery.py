"""`mimgen gallery masks | RUN`: what masks cover, and what a trained run tells of it and attends to, as images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import tyro

from mimgen import configs
from mimgen.cli.options import parse, parse_config
from mimgen.errors import UserError
from mimgen.report.run_folder import read_command, writable

if TYPE_CHECKING:
    from torch import Tensor

    from mimgen.recipes import Pretrain
    from mimgen.report.page import Gallery

__all__ = ["main"]

MASKS = "masks"
_SIDE, _PATCH = 64, 8


@dataclass(frozen=True)
class Arguments:
    """Show what masks cover, or what a pretraining run masks, predicts and attends to.

    For example: mimgen gallery masks --out masks.html
    or, after mimgen train mae --out runs/mae: mimgen gallery runs/mae --out mae.html

    Attributes:
        what: "masks" for every masking strategy, or the folder of a run of `mimgen train`.
        data: the images; by default emoji for masks, and for a run its own. See `mimgen data show`.
        split: part of the data; by default val of built-in and everything of other data.
        n: so many images, spread over the data.
        pixels: side of the images for masks; a run has its own.
        patch: side of a patch in pixels for masks.
        seed: of the masks.
        out: the page to write, a .html file without anything from outside.
        png: also write all images into this one file, a row for each.
    """

    what: tyro.conf.Positional[str]
    data: str | None = None
    split: str | None = None
    n: int = 6
    pixels: int = _SIDE
    patch: int = _PATCH
    seed: int = 0
    out: Path = Path("gallery.html")
    png: Path | None = None


def main(arguments: list[str]) -> int:
    """Write the page, and the image where asked."""
    options = parse(Arguments, arguments, "mimgen gallery")
    if min(options.n, options.pixels, options.patch) < 1:
        raise UserError("--n, --pixels and --patch: give at least 1")
    if options.out.suffix not in (".html", ".htm") or (options.png and options.png.suffix != ".png"):
        raise UserError(f"--out {options.out}, --png {options.png}: give the names of a .html and of a .png file")
    galleries, title, lead = _masks(options) if options.what == MASKS else _run(options)

    from mimgen.evaluation import provenance
    from mimgen.ops.images import save_png
    from mimgen.report.page import Report, contact_sheet, write_report

    writable(options.out.parent)
    report = Report(title, lead, [], galleries, provenance=provenance(seed=options.seed))
    print(f"written to {write_report(options.out, report)}")
    if options.png is not None:
        writable(options.png.parent)
        save_png(contact_sheet(galleries), options.png)
        print(f"written to {options.png}")
    return 0


def _masks(options: Arguments) -> tuple[list[Gallery], str, str]:
    from mimgen.report.gallery_masks import galleries

    images, captions = _images(options.data or "emoji", options.split, options.pixels, options.n)
    found = galleries(images, captions, options.patch, options.seed)
    lead = (
        f"Each strategy on the same {len(images)} images of {options.pixels} pixels in patches of {options.patch}. "
        "Grey is masked; nearly black is masked and not scored."
    )
    return found, "What masks cover", lead


def _run(options: Arguments) -> tuple[list[Gallery], str, str]:
    from mimgen.report.gallery_run import FinishedRun, gallery

    folder = Path(options.what)
    if not folder.is_dir():
        raise UserError(f"no run at {folder}: pass the --out folder of `mimgen train`, or the word {MASKS}")
    run = _pretraining(folder)
    objective, step = run.load(folder)
    own = run.data_config
    images, captions = _images(options.data or own.spec, options.split, own.size, options.n)
    lead = f"{folder}: {run.name} ({run.size}), trained on {own.spec}, averaged weights."
    finished = FinishedRun(run.name, objective, step, run.settings.steps)
    return [gallery(finished, images, captions, options.seed)], f"What {run.name} learned", lead


def _pretraining(folder: Path) -> Pretrain:
    """What `mimgen train` trained in `folder`, by the command that it keeps there."""
    from mimgen.recipes import Pretrain

    words = read_command(folder)
    if words[:2] != ["mimgen", "train"] or len(words) < 3:
        raise UserError(f"{folder} holds no training run; pass the --out folder of `mimgen train`, or the word {MASKS}")
    name, flags = words[2], words[3:]
    values = parse_config(name, flags, f"mimgen train {name}")
    values.pop("out")
    run = configs.experiment(name)(**values)
    if not isinstance(run, Pretrain):
        raise UserError(f"{folder} is a run of {name}, which pretrains no encoder: look at its samples/ instead")
    return run


def _images(spec: str, split: str | None, side: int, count: int) -> tuple[Tensor, tuple[str, ...]]:
    """Images [n, 3, H, W] spread over the data, and their captions."""
    from mimgen.data import evaluation_split, load_spaced, open_dataset

    dataset = open_dataset(spec, size=side, split=split or evaluation_split(spec), purpose="a gallery")
    if dataset[0].image.shape[:-2] != (3,):
        raise UserError(f"{spec} is not of images with 3 channels, which alone can be shown")
    return load_spaced(dataset, count)
