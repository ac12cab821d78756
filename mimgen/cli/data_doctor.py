"""`mimgen data doctor`: does a tokenizer fit these images? Asked before training on its codes."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from mimgen.cli.options import parse
from mimgen.errors import UserError
from mimgen.evaluation import measure
from mimgen.pipelines.open import BUNDLED, open_tokenizer
from mimgen.report.page import Gallery, Item, Number, Report, Scores, write_report
from mimgen.report.run_folder import writable

if TYPE_CHECKING:
    from torch import Tensor

    from mimgen.evaluation import Examination

__all__ = ["main"]

ADVICE = {
    "fits": "A generator can be trained on these codes.",
    "usable": "A generator will never be sharper than these reconstructions: look at the worst ones before training.",
    "does not fit": "Train a tokenizer on such images first (mimgen train vqgan --data ...), or take another one.",
}


@dataclass(frozen=True)
class Arguments:
    """Tell before training whether a tokenizer fits the images.

    Attributes:
        tokenizer: "bundled", a run folder, a pipeline folder, or the folder of a tokenizer.
        data: the images; see `mimgen data show`.
        size: side of the images; by default the one at which the tokenizer was trained.
        split: by default val of built-in data and everything of other data.
        limit: most images to look at, spread over the data.
        extractor: features of the rFID: lab-hog needs no weights, inception-v3-compat is the usual one.
        weights: file with the Inception weights; nothing is downloaded.
        shown: worst images in the report.
        out: folder for the report: index.html, worst.png, doctor.json.
    """

    tokenizer: str = BUNDLED
    data: str = "emoji"
    size: int | None = None
    split: str | None = None
    limit: int = 1000
    extractor: Literal["lab-hog", "inception-v3-compat"] = "lab-hog"
    weights: str | None = None
    shown: int = 12
    out: Path | None = None


def main(arguments: list[str]) -> int:
    """Examine, print the verdict, write the report."""
    options = parse(Arguments, arguments, "mimgen data doctor")
    if options.limit < 2 or options.shown < 1:
        raise UserError("--limit must be at least 2 and --shown at least 1")

    from mimgen.data import BUILT_IN
    from mimgen.evaluation import examine

    tokenizer, size = open_tokenizer(options.tokenizer, options.size, "--size", codes=False, named="--tokenizer")
    split = options.split or ("val" if options.data in BUILT_IN else None)
    images = measure.images(options.data, size, split, options.limit)
    if options.out is not None:
        writable(options.out)
    found = examine(
        tokenizer, images, extractor=options.extractor, weights=options.weights, shown=options.shown
    )
    print(_text(found, f"{options.tokenizer} on {options.data}" + (f" ({split})" if split else "")))
    if options.out is not None:
        _write(options.out, options, found, images)
        print(f"report: {options.out / 'index.html'}")
    return 0


def _text(found: Examination, title: str) -> str:
    rows = "\n".join(f"  {name.ljust(26)} {value.rjust(9)}  {note}" for name, value, note in _rows(found.result))
    against = "".join(f"\n  - {reason}" for reason in found.reasons)
    return f"{title}: {found.verdict.upper()}. {ADVICE[found.verdict]}{against}\n{rows}"


def _rows(result: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Name, value and how to read it, with the thresholds."""
    limits, codebook, rfid = result["thresholds"], result["codebook"], result["rfid"]
    mean = result["psnr_mean_of_images"]
    rows = [
        ("PSNR", f"{mean:.1f} dB", f"fits from {limits['good']:g}, does not below {limits['bad']:g}"),
        ("gain over flat colours", f"{result['gain']:+.1f} dB", f"fits from {limits['gain']:+g}: as many flat squares"),
        ("lost images", f"{result['lost']:.1%}", f"below {limits['bad']:g} dB; fits up to {limits['lost']:.0%}"),
        ("SSIM", f"{result['ssim']:.3f}", "structure, 1 is the image itself"),
        ("rFID", f"{rfid['fid']:.2f}", f"features: {rfid['extractor']}; compare equal extractors and images only"),
    ]
    if codebook is not None:
        used = result["possible_codes_used"]
        rows += [
            ("codes used", str(codebook["active"]), f"of {codebook['codebook_size']}; {used:.0%} of the possible"),
            ("perplexity", f"{codebook['perplexity']:.0f}", "as many codes if all were used equally"),
        ]
    return [*rows, ("images", str(result["n"]), f"{result['size']} px")]


def _write(out: Path, options: Arguments, found: Examination, images: Tensor) -> None:
    from mimgen.evaluation import provenance, write_result

    facts = {"tokenizer": options.tokenizer, "data": options.data, "split": options.split}
    write_result(out / "doctor.json", provenance(**facts, **found.result, worst=list(found.worst)))
    _sheet(out / "worst.png", found, images)
    back = found.made.images
    items = [
        Item({"true": images[i], "comes back": back[i]}, f"image {i}", f"{float(found.psnr[i]):.1f} dB")
        for i in found.worst
    ]
    report = Report(
        title=f"Does {options.tokenizer} fit {options.data}?",
        lead=f"{found.verdict.capitalize()}. {ADVICE[found.verdict]} " + " ".join(f"{r}." for r in found.reasons),
        numbers=[Number(name, value, note) for name, value, note in _rows(found.result)],
        sections=[
            _distribution(found),
            Gallery("The worst images", "Each beside what comes back, the worst first.", items),
        ],
        provenance=provenance(**facts),
    )
    write_report(out / "index.html", report)


def _distribution(found: Examination) -> Scores:
    """How many images come back how well."""
    edges = (0, 15, 18, 20, 22, 25, 30)
    bounds = [*itertools.pairwise(edges), (edges[-1], 1000)]
    shares = [float(((found.psnr >= low) & (found.psnr < high)).double().mean()) for low, high in bounds]
    rows = [(f"{low} to {high} dB" if high < 1000 else f"{low} dB and more", share)
            for (low, high), share in zip(bounds, shares, strict=True)]  # fmt: skip
    text = "Below 18 dB shapes are lost, from 22 dB on only fine texture is."
    return Scores("All images", text, ("PSNR", "share"), rows, ours=-1)


def _sheet(path: Path, found: Examination, images: Tensor) -> None:
    """Pairs true | comes back, four to a row, as one PNG."""
    import torch
    from PIL import Image

    numbers = list(found.worst)
    pairs = torch.cat([images[numbers], found.made.images[numbers]], dim=3)
    blank = torch.ones(-len(pairs) % min(4, len(pairs)), *pairs.shape[1:])
    rows = torch.cat([pairs, blank]).split(min(4, len(pairs)))
    sheet = torch.cat([torch.cat(list(row), dim=2) for row in rows], dim=1)
    pixels = (sheet.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
    Image.fromarray(pixels).save(path)
