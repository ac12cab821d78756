"""`mimgen gallery masks | RUN`: what masks cover, and what a trained run tells of it and attends to, as images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import tyro

from mimgen.cli.options import parse
from mimgen.errors import UserError
from mimgen.report.run_folder import writable

if TYPE_CHECKING:
    from torch import Tensor

    from mimgen.report.page import Gallery

__all__ = ["Arguments", "contact_sheet", "main"]

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
    from mimgen.report.page import Report, write_report

    writable(options.out.parent)
    report = Report(title, lead, [], galleries, provenance=provenance(seed=options.seed))
    print(f"written to {write_report(options.out, report)}")
    if options.png is not None:
        from mimgen.training.log import save_png

        writable(options.png.parent)
        save_png(contact_sheet(galleries), options.png)
        print(f"written to {options.png}")
    return 0


def contact_sheet(galleries: Sequence[Gallery], gap: int = 4) -> Tensor:
    """All images of galleries in one [3, H, W], on white.

    A row holds one item's images; galleries whose items have few images stand in the same row, item by item.
    """
    import torch
    from torch.nn.functional import pad

    rows = []
    for section in galleries:
        cells = [[pad(image.float().cpu(), (0, gap, 0, gap), value=1.0) for image in item.images.values()]
                 for item in section.items]  # fmt: skip
        # few images per item: one row for the whole gallery; many: one row an item
        lines = [[each for cell in cells for each in cell]] if len(cells[0]) < 3 else cells
        rows += [torch.cat(line, dim=2) for line in lines]
    width = max(row.shape[2] for row in rows)
    return torch.cat([pad(row, (0, width - row.shape[2]), value=1.0) for row in rows], dim=1)


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
    from mimgen.report.gallery_run import gallery, open_run

    folder = Path(options.what)
    if not folder.is_dir():
        raise UserError(f"no run at {folder}: pass the --out folder of `mimgen train`, or the word {MASKS}")
    finished = open_run(folder)
    own = finished.run.data_config
    images, captions = _images(options.data or own.spec, options.split, own.size, options.n)
    lead = f"{folder}: {finished.run.name} ({finished.run.size}), trained on {own.spec}, averaged weights."
    return [gallery(finished, images, captions, options.seed)], f"What {finished.run.name} learned", lead


def _images(spec: str, split: str | None, side: int, count: int) -> tuple[Tensor, tuple[str, ...]]:
    """Images [n, 3, H, W] spread over the data, and their captions."""
    from mimgen.data import BUILT_IN, Dataset, load_images, open_data

    dataset = open_data(spec, size=side, split=split or ("val" if spec in BUILT_IN else None))
    if not isinstance(dataset, Dataset):
        raise UserError(f"{spec} is a stream; a gallery needs data on disk")
    if not len(dataset):
        raise UserError(f"{spec} holds no images: check the split")
    count = min(count, len(dataset))
    chosen = [index * len(dataset) // count for index in range(count)]
    if dataset[chosen[0]].image.shape[:-2] != (3,):
        raise UserError(f"{spec} is not of images with 3 channels, which alone can be shown")
    return load_images(dataset, chosen), tuple(dataset.captions[index] for index in chosen)
