"""Tokenizers trained with the same budget: reconstructions, codes, what a probe reads off them, speed."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch

from mimgen.configs import parse_integers, parse_words
from mimgen.data import training_split
from mimgen.evaluation.tokenizer_scores import open_labelled, score_tokenizer
from mimgen.probing import linear_probe, raw_pixels
from mimgen.recipes import Build, load_image_quantizer
from mimgen.recipes.compare import Arm, Budget, Compare, Results, Train, named_run
from mimgen.report.sections import Column, Section

COLUMNS = (
    Column("tokens", "scores.tokens", 0),
    Column("codes", "scores.codebook_size", 0),
    Column("bits", "scores.bits", 0),
    Column("PSNR dB", "scores.psnr"),
    Column("SSIM", "scores.ssim", 3),
    Column("rFID", "scores.rfid"),
    Column("usage %", "scores.usage", 1, 100),
    Column("perplexity", "scores.perplexity", 0),
    Column("probe, 4 x 4 grid %", "scores.probe_grid", 1, 100),
    Column("probe, mean %", "scores.probe_mean", 1, 100),
    Column("encode images/s", "scores.encode_images_per_s", 0),
    Column("decode images/s", "scores.decode_images_per_s", 0),
    Column("training s", "training.seconds", 0),
    Column("training images", "training.images", 0),
    Column("parameters", "training.parameters", 0),
)


def experiment(
    configs: str = "vqgan-fsq,vqgan-vq,vqgan-lfq",
    size: str = "emoji64",
    data: str = "emoji",
    images: int = 20_000,
    seconds: float | None = None,
    seeds: str = "0",
    precision: Literal["auto", "fp32", "bf16"] = "fp32",
    untrained: bool = False,
    limit: int | None = None,
) -> Compare:
    """Train each tokenizer with the same budget and measure it on the images of `val`.

    Command: mimgen compare tokenizers --configs vqgan-fsq,vqgan-vq --images 3200

    Cost: about two minutes of two cores per tokenizer and seed with 3,200 images of 64 px.

    Args:
        configs: names with commas between: a config (titok), or one with its variant (vqgan-fsq, vqgan-vq).
        size: size of every config.
        data: "emoji" or "photos" (crops of photographs), or your own images.
        images: training images for each; 0 leaves it to `seconds`.
        seconds: maximum seconds of training for each; alone it decides the number of steps.
        seeds: of weights and data order, with commas between; each is a row.
        precision: the same for all.
        untrained: also measure every tokenizer as initialised, as a control.
        limit: measure on so many images of each split only, to save time.
    """
    budget = Budget(images or None, seconds, precision)
    score = partial(scores, data=data, limit=limit)
    arms, sides = [], set()
    for name in parse_words(configs, "configs"):
        build = named_run(name, {"size": size, "data": data}, split=training_split(data) or "train", only="tokenizer")
        run = build(0)
        sides.add(run.data_config.size)
        arms.append(Arm(name, {"training": Train(build, budget), "scores": score}))
        if untrained and not isinstance(run, Build):
            control = Train(build, budget, trained=False)
            arms.append(Arm(f"{name}, untrained", {"training": control, "scores": score}))
    for side in sorted(sides):
        pixels = partial(pixel_scores, data=data, side=side, limit=limit)
        arms.append(Arm(f"raw pixels, {side} px", {"scores": pixels}, seeded=False))
    protocol = {"size": size, "data": data, "limit": limit, "budget": str(budget), "precision": precision}
    title = f"Tokenizers on {data}, {budget} each"
    return Compare("tokenizers", title, arms, parse_integers(seeds, "seeds"), protocol, tables)


def scores(folder: Path, seed: int, rows: dict[str, Any], *, data: str, limit: int | None) -> dict[str, Any]:
    """Everything measured of the tokenizer in `folder`."""
    tokenizer: Any = load_image_quantizer(folder)
    labelled = open_labelled(data, rows["training"]["pixels"], limit)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    sizes = {"val_n": len(labelled.val), "train_n": len(labelled.train)}
    return {**sizes, **score_tokenizer(tokenizer.to(device), labelled, seed)}


def pixel_scores(
    folder: Path, seed: int, rows: dict[str, Any], *, data: str, side: int, limit: int | None
) -> dict[str, Any]:
    """The controls: a linear probe on raw pixels, and how often the most frequent label is correct."""
    labelled = open_labelled(data, side, limit)
    if labelled.label is None:
        return {"label": None}
    train, val = raw_pixels(labelled.train), raw_pixels(labelled.val)
    result = linear_probe(train, labelled.train_y, val, labelled.val_y, seed=0)
    return {"label": labelled.label, "classes": result.classes, "probe_grid": result.accuracy,
            "majority": result.majority, "train_n": result.n, "val_n": result.test_n}  # fmt: skip


def tables(results: Results) -> list[Section]:
    """One table, with what is needed to read it."""
    done = [row.get("scores", {}) for rows in results.values() for row in rows]
    notes = []
    base = next((row for row in done if "majority" in row), None)
    if base is not None:
        notes.append(
            f"Probe: linear, {base['classes']} classes of \"{base['label']}\", {base['train_n']:,} images of train, "
            f"{base['val_n']:,} of val; most frequent class {100 * base['majority']:.1f} %."
        )
    extractors = sorted({row["rfid_extractor"] for row in done if row.get("rfid_extractor")})
    if extractors:
        notes.append(f"rFID by {', '.join(extractors)}: comparable within this table only.")
    if any(row.get("merged") for row in done):
        notes.append("Bits of merging tokenizers are those of the codes, without the positions of merged tokens.")
    early = [name for name, rows in results.items() for row in rows
             if row.get("training", {}).get("stopped_by_time_limit")]  # fmt: skip
    if early:
        notes.append(f"Ended by the time limit before the planned steps: {', '.join(early)}.")
    return [Section("Tokenizers", COLUMNS, results, " ".join(notes), "tokenizer")]
