"""Data x model x length of masked image modelling: does the validation loss rank models for transfer?"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from mimgen.configs import parse_integers
from mimgen.data import Dataset, Loader, nested_subset, open_data, without
from mimgen.decoders.mae import LinearDecoder, MaeDecoder
from mimgen.encoders.vit import IMAGENET_MEAN, IMAGENET_STD, VitEncoder, mae_vit
from mimgen.errors import UserError
from mimgen.evaluation.masked import LossCurve, load_split
from mimgen.masking.random import Random
from mimgen.methods.mim import MIM
from mimgen.ops.ranks import rank_correlation
from mimgen.probing.frozen import probe_and_finetune
from mimgen.recipes.compare import Arm, Compare, Hypothesis, Results, Row
from mimgen.report.curves import Curve
from mimgen.report.sections import Column, Section
from mimgen.targets import PixelTarget
from mimgen.training import Settings, fit

POINTS = 8  # of the curves of losses
SAMPLE_SEED = 0  # of subsets and validation masks, the same for all cells
CELLS = 12  # fewer runs rank nothing
STRONG = -0.7  # rank correlation of loss and accuracy
FLAT = 0.05  # gap between the losses, as a share of the validation loss, that still counts as none

COLUMNS = (
    Column("training loss", "cell.train_loss", 4), Column("validation loss", "cell.val_loss", 4),
    Column("probe %", "cell.probe", 1, 100), Column("fine-tuned %", "cell.finetune", 1, 100),
    Column("most frequent class %", "cell.majority", 1, 100),
    Column("seconds", "cell.seconds", 0),
)  # fmt: skip


def experiment(
    method: Literal["simmim", "mae"] = "simmim",
    data: str = "emoji",
    subsets: str = "100,600,0",
    widths: str = "32,64,128",
    steps: str = "200,800",
    seeds: str = "0,1,2",
    pixels: int = 32,
    patch: int = 4,
    unit: int = 2,
    ratio: float = 0.6,
    depth: int = 4,
    batch: int = 32,
    base_lr: float = 8e-3,
    limit: int = 400,
    labelled: int = 1000,
    epochs: int = 10,
) -> Compare:
    """Pretrain a grid of cells by masked image modelling and compare losses with accuracies (arXiv 2206.04664).

    All cells are compared at equal steps. Subsets are nested; validation images occur in none of them. Losses are
    measured with fixed masks and without augmentation, on training images too.

    Command: mimgen compare scaling --subsets 100,0 --widths 32,64 --steps 200

    Cost: about two hours of two cores with the defaults.

    Args:
        method: simmim (mask token, raw pixels, absolute error; as in the paper, with a plain transformer) or mae
            (masked patches left out, pixels normalised by patch, squared error).
        data: "emoji" or another built-in set, or your own images, which are split.
        subsets: images to pretrain on, with commas between; 0 for all.
        widths: of the encoder, multiples of 16, with commas between.
        steps: lengths of training, with commas between.
        seeds: of weights and data order, with commas between.
        pixels: side of the images.
        patch: side of a patch in pixels.
        unit: side in patches of what is masked together.
        ratio: share that is masked.
        depth: blocks of every encoder.
        batch: images per step.
        base_lr: learning rate for 256 images.
        limit: validation images, and as many training images for the training loss.
        labelled: labelled images of train for probe and fine-tuning, the same for all cells.
        epochs: of fine-tuning; 0 leaves it out.
    """
    protocol = Protocol(method, data, limit=limit, pixels=pixels, patch=patch, unit=unit, ratio=ratio, depth=depth,
                        batch=batch, base_lr=base_lr, labelled=labelled, epochs=epochs)  # fmt: skip
    lists = {"subsets": subsets, "widths": widths, "steps": steps}
    numbers = [parse_integers(text, name) for name, text in lists.items()]
    if any(width % 16 or not width for width in numbers[1]) or not all(numbers[2]):
        raise UserError(f"--widths {widths} --steps {steps}: give multiples of 16, and steps above 0")
    # cheap cells first, so that an interrupted comparison has something to show
    grid = sorted((Cell(*cell) for cell in product(*numbers)), key=lambda cell: (cell.steps, cell.width, cell.order))
    arms = [Arm(cell.name, {"cell": partial(pretrain_cell, protocol=protocol, cell=cell)}) for cell in grid]
    hypotheses = [Hypothesis(text, partial(contrasts, cells=grid)) for text, contrasts in HYPOTHESES.items()]
    return Compare("scaling", f"Data scaling: {method} on {data}, {pixels} px", arms, parse_integers(seeds, "seeds"),
                   asdict(protocol), partial(tables, cells=grid), hypotheses,
                   curves=partial(curves, cells=grid))  # fmt: skip


@dataclass(frozen=True)
class Protocol:
    """Everything in which two cells agree; see `experiment`. `masks` are the fixed ones of each validation image."""

    method: Literal["simmim", "mae"] = "simmim"
    data: str = "emoji"
    pixels: int = 32
    patch: int = 4
    unit: int = 2
    ratio: float = 0.6
    depth: int = 4
    batch: int = 32
    base_lr: float = 8e-3
    masks: int = 4
    limit: int = 400
    labelled: int = 1000
    epochs: int = 10


@dataclass(frozen=True)
class Cell:
    """One run: `images` of the data (0 for all), an encoder of `width`, `steps` of training."""

    images: int
    width: int
    steps: int

    @property
    def name(self) -> str:
        """Of the arm."""
        return f"{self.images or 'all'}-{self.width}-{self.steps}"

    @property
    def order(self) -> float:
        """Key that sorts subsets by size; 0 means all and comes last."""
        return self.images or float("inf")


def pretrain_cell(folder: Path, seed: int, rows: Mapping[str, Row], *, protocol: Protocol, cell: Cell) -> Row:
    """Pretrain in `folder`, or resume there, and measure.

    The row's duplicates are training images left out because val holds their copy; curve holds both losses along the
    way; probe and finetune are accuracies on val, null without labels.
    """
    train, held_out = (_open(protocol, split) for split in ("train", "val"))
    pool = without(train, held_out)
    subset = nested_subset(pool, cell.images, SAMPLE_SEED)
    objective = build(protocol, cell.width, seed)
    settings = Settings(
        steps=cell.steps, batch_size=protocol.batch, base_lr=protocol.base_lr, warmup=max(1, cell.steps // 10),
        betas=(0.9, 0.95), clip=5.0, ema=0.0, precision="fp32", seed=seed, log_every=max(1, cell.steps // 50),
        save_every=max(1, cell.steps // 4), sample_every=max(1, cell.steps // POINTS), keep=1, tracker="none",
    )  # fmt: skip
    known = nested_subset(subset, min(protocol.limit, len(subset)), SAMPLE_SEED)
    val = load_split(held_out, protocol.limit)
    losses = {"train": load_split(known)[:2], "val": val[:2]}
    curve = LossCurve(folder / "validation.jsonl", losses, protocol.masks, SAMPLE_SEED)
    start = time.monotonic()
    result = fit(objective, Loader(subset, protocol.batch, seed), settings, folder, images=curve,
                 record={**asdict(protocol), **asdict(cell), "seed": seed})  # fmt: skip
    if result.interrupted:
        raise KeyboardInterrupt
    curve(objective, cell.steps)
    points = curve.points()
    return {
        "subset_size": len(subset), "duplicates": len(train) - len(pool),
        "parameters": sum(part.numel() for part in objective.parameters() if part.requires_grad),
        "train_loss": points[-1]["train"], "val_loss": points[-1]["val"], "curve": points,
        **_accuracies(objective.encoder, protocol, pool, val, seed),
        "seconds": round(time.monotonic() - start, 1),
    }  # fmt: skip


def build(protocol: Protocol, width: int, seed: int) -> MIM:
    """The composition with fresh weights."""
    torch.manual_seed(seed)
    sizes: dict[str, Any] = {"image_size": protocol.pixels, "patch": protocol.patch, "width": width,
                             "depth": protocol.depth, "heads": max(1, width // 16)}  # fmt: skip
    masking = Random(protocol.ratio, protocol.unit)
    if protocol.method == "mae":
        inner = max(16, width // 2 // 16 * 16)
        decoder = MaeDecoder(protocol.pixels, protocol.patch, width, inner, 1, inner // 16)
        target = PixelTarget(protocol.patch, mean=IMAGENET_MEAN, std=IMAGENET_STD, last=True)
        return MIM(mae_vit(**sizes), decoder, target, masking)
    raw = PixelTarget(protocol.patch, normalise=False, mean=IMAGENET_MEAN, std=IMAGENET_STD, distance="absolute")
    # before the encoder: the order in which weights are drawn is part of a seed's row
    linear = LinearDecoder(width, protocol.patch, protocol.patch)
    return MIM(VitEncoder(**sizes, mask_token="replace"), linear, raw, masking)


def _open(protocol: Protocol, split: str) -> Dataset:
    dataset = open_data(protocol.data, size=protocol.pixels, split=split)
    if not isinstance(dataset, Dataset):
        raise UserError(f"{protocol.data} is a stream; the comparison needs data on disk")
    return dataset


def _accuracies(
    encoder: nn.Module, protocol: Protocol, pool: Dataset, val: tuple[Tensor, list[str], Tensor], seed: int
) -> Row:
    label = next(reversed(pool.label_names), None)
    if label is None:
        return {"label": None, "probe": None, "finetune": None}
    # another sample than the pretraining subsets, so that no cell is favoured
    images, _, y = load_split(nested_subset(pool, min(protocol.labelled, len(pool)), SAMPLE_SEED + 1))
    found = probe_and_finetune(encoder, (images, y), (val[0], val[2]), seed=seed, epochs=protocol.epochs)
    return {"label": label, **found}


def tables(results: Results, cells: Sequence[Cell]) -> list[Section]:
    """All cells, small data first, and the rank correlations of each seed."""
    order = sorted(cells, key=lambda cell: (cell.order, cell.width, cell.steps))
    lines = {cell.name: results[cell.name] for cell in order}
    seeds = sorted({row["seed"] for rows in results.values() for row in rows})
    ranks = [correlations([row for rows in results.values() for row in rows if row["seed"] == seed]) for seed in seeds]
    columns = [Column(name, name) for name in (ranks[0] if ranks else {})]
    rank_lines = {"Spearman over all cells": [each for each in ranks if each]}
    return [Section("Cells", COLUMNS, lines, "Images, width, steps; both losses with fixed masks.", "cell"),
            Section("Rank correlations", columns, rank_lines, "Of each loss with each accuracy.", "")]  # fmt: skip


def correlations(rows: Sequence[Row]) -> dict[str, float]:
    """Spearman's coefficient of each loss with each accuracy, over cells; without labels none."""
    found = {}
    for loss, accuracy in product(("val_loss", "train_loss"), ("finetune", "probe")):
        pairs = [(row["cell"][loss], row["cell"][accuracy]) for row in rows if row["cell"][accuracy] is not None]
        if len(pairs) > 2:
            found[f"{loss} with {accuracy}"] = rank_correlation(pairs)
    return found


def curves(results: Results, cells: Sequence[Cell]) -> list[Curve]:
    """Of the first seed: losses of the widest and longest cells by subset, accuracy against validation loss."""
    rows = {cell: results[cell.name][0]["cell"] for cell in cells if results[cell.name]}
    width, steps = max(cell.width for cell in cells), max(cell.steps for cell in cells)
    found = []
    for cell, row in rows.items():
        if (cell.width, cell.steps) == (width, steps):
            lines = {name: [(point["step"], point[name]) for point in row["curve"]] for name in ("train", "val")}
            found.append(Curve(f"loss, {cell.images or 'all'} images, width {width}", "step", lines))
    for key in ("finetune", "probe"):
        points = sorted((row["val_loss"], 100 * row[key]) for row in rows.values() if row[key] is not None)
        if points:
            found.append(Curve(f"{key} accuracy in percent", "validation loss", {key: points}))
    return found


def overfitting(rows: Mapping[str, Row], cells: Sequence[Cell]) -> dict[str, float]:
    """Gap between the losses of the largest model after the longest training, with the fewest and the most images."""
    end = max(cell.width for cell in cells), max(cell.steps for cell in cells)
    longest = sorted((cell for cell in cells if (cell.width, cell.steps) == end), key=lambda cell: cell.order)
    few, many = (rows.get(cell.name, {}).get("cell") for cell in (longest[0], longest[-1]))
    if len(longest) < 2 or few is None or many is None:
        return {}
    gaps = [point["val"] - point["train"] for point in few["curve"]]
    rest = (many["val_loss"] - many["train_loss"]) / many["val_loss"]
    return {
        "few images: gap at the end": gaps[-1],
        "few images: gap at the end - at first": gaps[-1] - gaps[0],
        "few images: validation loss at the end - lowest": few["val_loss"] - min(p["val"] for p in few["curve"]),
        f"many images: {FLAT} - relative gap": FLAT - rest,
    }


def loss_ranks_models(rows: Mapping[str, Row], cells: Sequence[Cell]) -> dict[str, float]:
    """How strongly the validation loss ranks cells by accuracy, and how much better than the training loss."""
    done = [row for row in rows.values() if "cell" in row]
    accuracy = "finetune" if all(row["cell"]["finetune"] is not None for row in done) else "probe"
    found = correlations(done)
    val, train = (found.get(f"{loss} with {accuracy}") for loss in ("val_loss", "train_loss"))
    if len(done) < CELLS or val is None or train is None:
        return {}
    return {f"{STRONG} - correlation of the validation loss": STRONG - val,
            "correlation of the training loss - of the validation loss": train - val}  # fmt: skip


def length_pays_off(rows: Mapping[str, Row], cells: Sequence[Cell]) -> dict[str, float]:
    """With the most images: how the largest model's lead over the smallest grows with the length of training."""
    widths, lengths = sorted({cell.width for cell in cells}), sorted({cell.steps for cell in cells})
    most = max(cells, key=lambda cell: cell.order).images
    gains = []
    for steps in (lengths[0], lengths[-1]):
        pair = [rows.get(Cell(most, width, steps).name, {}).get("cell") for width in (widths[0], widths[-1])]
        if len(widths) < 2 or len(lengths) < 2 or pair[0] is None or pair[1] is None:
            return {}
        gains.append(pair[0]["val_loss"] - pair[1]["val_loss"])
    return {"gain of the largest model, longest - shortest": gains[1] - gains[0]}


HYPOTHESES = {
    "a large model over-fits little data, and not much data": overfitting,
    "the validation loss ranks models for transfer better than the training loss": loss_ranks_models,
    "with much data, a large model pays off more the longer it is trained": length_pays_off,
}
