"""`mimgen analyse`: what an encoder attends to and how its layers differ, without any label."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mimgen.cli.options import parse
from mimgen.errors import UserError

__all__ = ["main"]


@dataclass(frozen=True)
class Arguments:
    """Measure every layer of an encoder and show what it attends to; no label is needed.

    Attributes:
        model: the encoder: "bundled", "random-vit", "pixels", "hog", a folder (of a run, a pipeline, an encoder
            or a tokenizer), timm:NAME or hf:FOLDER.
        against: a second encoder, named likewise, to compare with on the same images.
        data: the images; see `mimgen data show`.
        split: part of the data; by default val of built-in and everything of other data.
        pixels: side of the images; by default what each encoder was trained at.
        limit: measure so many images, spread over the data; 0 for all.
        show: so many images in the page.
        batch: images at a time, 8 or more.
        out: write the numbers to this JSON file and the page beside it, as .html.
    """

    model: str = "bundled"
    against: str | None = None
    data: str = "emoji"
    split: str | None = None
    pixels: int | None = None
    limit: int = 128
    show: int = 6
    batch: int = 16
    out: Path | None = None


def main(arguments: list[str]) -> int:
    """Measure, print the tables by layer, and write JSON and page where asked."""
    options = parse(Arguments, arguments, "mimgen analyse")
    if options.limit and options.limit < 4:
        raise UserError(f"--limit {options.limit}: give at least 4 images, or 0 for all")
    if options.show < 1:
        raise UserError(f"--show {options.show}: give at least 1")

    from mimgen.analysis.run import analyse_encoders
    from mimgen.data import evaluation_split
    from mimgen.probing import open_encoder
    from mimgen.report import analyse_page

    found = analyse_encoders(
        open_encoder(options.model, options.pixels),
        open_encoder(options.against, options.pixels) if options.against else None,
        data=options.data,
        split=options.split or evaluation_split(options.data),
        limit=options.limit or None,
        batch_size=options.batch,
    )
    for encoder in found.encoders:
        print(analyse_page.text_table(encoder))
    for line in analyse_page.sentences(found):
        print(line)
    if options.out is not None:
        written = analyse_page.write(options.out, found, options.show)
        print(f"written to {written} and {written.with_suffix('.html').name}")
    return 0
