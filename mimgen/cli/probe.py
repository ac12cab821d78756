"""`mimgen probe`: what can be read off a frozen encoder, by several probes on the same features."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mimgen.cli.options import parse
from mimgen.probing import kinds
from mimgen.probing.open import ENCODER_SPECS, open_encoder

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
    from mimgen.probing.rows import measure
    from mimgen.report.probe_page import outcome, printed

    loaded = open_encoder(options.model, options.pixels)
    data, lines, attention_examples = measure(options, loaded)
    for note in data.notes:
        print(f"note: {note}")
    print(printed(loaded, data, lines))
    if options.out is not None:
        print(f"written to {outcome(options, loaded, data, lines, attention_examples)} and the page beside it")
    return 0


def _help() -> str:
    attentive = ", ".join(kinds.attentive())
    return f"""MODEL is one of
{ENCODER_SPECS}

PROBES are any of
  {", ".join(kinds.VECTORS)}: read one vector per image (--pooling)
  {attentive}: pool all tokens
  {", ".join(kinds.IMAGES)}: the whole encoder is trained
  {", ".join(kinds.PATCHES)}: label pixels (--masks, or --data scenes)
"""
