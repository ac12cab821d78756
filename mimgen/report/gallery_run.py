"""What a pretraining run masks, predicts and attends to, for `mimgen gallery RUN`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mimgen.analysis import attention_heatmap, has_attention, overlay, resting
from mimgen.analysis.encoder import level_grid
from mimgen.analysis.mask_images import masked_images, reconstructed
from mimgen.errors import UserError
from mimgen.methods.base import Objective
from mimgen.report.page import Gallery, Item
from mimgen.targets import PixelTarget
from mimgen.types import Batch, SampleRNG

__all__ = ["FinishedRun", "attention_maps", "gallery"]

NOT_PIXELS = "it predicts no pixels of a single image, so only masks and attention are shown"


@dataclass(frozen=True)
class FinishedRun:
    """A run's objective with averaged weights, in evaluation mode.

    Attributes:
        name: of the config that made it.
        objective: with the weights of the newest checkpoint.
        step: that of the checkpoint.
        steps: of the run.
    """

    name: str
    objective: Objective
    step: int
    steps: int = 0


@torch.no_grad()
def gallery(finished: FinishedRun, images: Tensor, captions: Sequence[str], seed: int = 0) -> Gallery:
    """Each of the images [B, 3, H, W] in [0, 1] beside its mask, its prediction and the encoder's attention."""
    objective, columns = finished.objective, {"image": images}
    notes: list[str] = []
    rng = SampleRNG([seed + row for row in range(len(images))])
    batch = Batch(images, rng=rng, step=finished.step, steps=finished.steps)
    try:
        mask = objective.mask(batch)
        patch = round((images.shape[-2] * images.shape[-1] / mask.masked.shape[1]) ** 0.5)  # side in pixels
        columns["masked"] = masked_images(images, mask, patch)
        predicted = objective.reconstruct(batch, mask)
        if predicted is None:
            notes.append(NOT_PIXELS)
        else:
            columns |= {"reconstruction": reconstructed(images, predicted, mask, patch), "all predictions": predicted}
    except UserError as error:  # it needs more than images: another view, keypoints
        notes.append(f"not all can be shown, as {error}")
    attention = attention_maps(objective.encoder, images)
    if attention is None:
        notes.append("its encoder shows no attention")
    else:
        columns["attention"] = attention
    items = [
        Item({name: each[row] for name, each in columns.items()}, caption or f"image {row}")
        for row, caption in enumerate(captions)
    ]
    return Gallery(f"{finished.name}, step {finished.step}", _reading(objective, columns, notes), items,
                   width=150 * len(columns))  # fmt: skip


def _reading(objective: Objective, columns: dict[str, Tensor], notes: list[str]) -> str:
    notes_shown = ["Grey: masked; nearly black: masked and not scored."] if "masked" in columns else []
    if "reconstruction" in columns:
        notes_shown.append("Reconstruction: visible patches are pasted; all predictions: they are not.")
        if isinstance(objective.target, PixelTarget) and objective.target.normalise:
            notes_shown.append("The target is normalised by patch: mean and variance are those of the true patch.")
    if "attention" in columns:
        notes_shown.append(
            "Attention: bright is what the class token, or without one all patches, look at in the last block."
        )
    return " ".join([*notes_shown, *(f"Note: {note}." for note in notes)])


def attention_maps(encoder: Any, images: Tensor) -> Tensor | None:
    """Where the last block looks in intact images, as heat over them [B, 3, H, W]; None where it has no maps."""
    if not has_attention(encoder):
        return None
    with resting(encoder):
        tokens = encoder(images, attention=(encoder.depth - 1,))
    if not tokens.attention:
        return None
    maps, prefix = tokens.attention[0].mean(1), tokens.prefix.shape[1]
    grid = level_grid(maps.shape[-1] - prefix, tokens.grid)
    if grid is None:
        return None
    pairs = zip(images, maps, strict=True)
    return torch.stack([overlay(image, attention_heatmap(each, prefix), grid) for image, each in pairs])
