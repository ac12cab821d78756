"""`mimgen probe`: what can be read off a frozen encoder, by several probes on the same features."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from mimgen.cli.options import parse, parse_integers, parse_words
from mimgen.errors import UserError

if TYPE_CHECKING:
    from mimgen.probing import ProbeSettings

__all__ = ["Options", "main"]


@dataclass(frozen=True)
class Options:
    """Measure an encoder by probes on its frozen features, which are computed once and kept.

    Attributes:
        model: the encoder: bundled, a folder, pixels, hog, random-vit, hf:FOLDER or timm:NAME.
        data: emoji, digits, photos or your own images.
        label: which label to read; by default the data's last, which is the finest.
        probes: names with commas between.
        layers: last, all, or numbers such as 0,5,-1; the depth means the output.
        pooling: how knn, linear, logistic, sweep and mae get one vector per image.
        seeds: of the probes and of the generated images, with commas between.
        few_shot: also with so many images per class, such as 1,5,10, sampled anew for each seed.
        train: split that fits the probes.
        test: split that they are tested on.
        pixels: side of the images; by default what the encoder was trained at.
        limit: only so many images of each split, to save time.
        masks: folder with a PNG of class numbers for each image's key, for segment-knn and segment-linear;
            scenes have their own.
        epochs: of fine-tune.
        layer_decay: of fine-tune: factor of the learning rate from a layer to the one before.
        mixup: of fine-tune.
        label_smoothing: of fine-tune.
        drop_path: of fine-tune.
        batch_size: images at a time when features are computed.
        workers: processes that compute features.
        cache: where features are kept; by default $MIMGEN_CACHE/features or ~/.cache/mimgen/features.
        out: also write the result to this JSON file, and a page with attention maps beside it.
    """

    model: str = "bundled"
    data: str = "emoji"
    label: str | None = None
    probes: str = "knn,linear,efficient"
    layers: str = "last"
    pooling: Literal["mean", "grid", "prefix"] = "mean"
    seeds: str = "0,1,2"
    few_shot: str = ""
    train: str = "train"
    test: str = "val"
    pixels: int | None = None
    limit: int | None = None
    masks: Path | None = None
    epochs: int = 30
    layer_decay: float = 0.75
    mixup: float = 0.0
    label_smoothing: float = 0.0
    drop_path: float | None = None
    batch_size: int = 64
    workers: int = 1
    cache: Path | None = None
    out: Path | None = None


def main(arguments: list[str]) -> int:
    """Probe, print the table, write the result."""
    if {"-h", "--help"} & set(arguments):
        print(_help())
    options = parse(Options, arguments, "mimgen probe")
    probes, settings = parse_words(options.probes, "probes"), _settings(options)
    if options.limit is not None and options.limit < 5:
        raise UserError(f"--limit {options.limit}: give at least 5")

    from mimgen.probing import check_probes, open_encoder, probe_data, run_probes
    from mimgen.report import probe_page

    check_probes(probes)
    encoder = open_encoder(options.model, options.pixels)
    splits = (options.train, options.test)
    data = probe_data(options.data, encoder.pixels, label=options.label, splits=splits, limit=options.limit)
    found = run_probes(encoder, data, probes, settings)
    for note in data.notes:
        print(f"note: {note}")
    print(probe_page.text_table(found))
    if options.out is not None:
        print(f"written to {probe_page.write(options.out, found)} and the page beside it")
    return 0


def _settings(options: Options) -> ProbeSettings:
    from mimgen.probing import FineTune, ProbeSettings

    fine_tune = FineTune(
        epochs=options.epochs,
        layer_decay=options.layer_decay,
        mixup=options.mixup,
        label_smoothing=options.label_smoothing,
        drop_path=options.drop_path,
        pool="prefix" if options.pooling == "prefix" else "mean",
    )
    return ProbeSettings(
        layers=options.layers,
        pooling=options.pooling,
        seeds=parse_integers(options.seeds, "seeds"),
        few_shot=parse_integers(options.few_shot, "few-shot") if options.few_shot.strip() else (),
        masks=options.masks,
        fine_tune=fine_tune,
        batch_size=options.batch_size,
        workers=options.workers,
        cache=options.cache,
    )


def _help() -> str:
    from mimgen.probing.open import ENCODER_SPECS
    from mimgen.probing.probes import probes_that_read

    return f"""MODEL is one of
{ENCODER_SPECS}

PROBES are any of
  {", ".join(probes_that_read("vectors"))}: read one vector per image (--pooling)
  {", ".join(probes_that_read("tokens"))}: pool all tokens
  {", ".join(probes_that_read("images"))}: the whole encoder is trained
  {", ".join(probes_that_read("patches"))}: label pixels (--masks, or --data scenes)
"""
