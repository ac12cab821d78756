"""What a pretraining run masks, predicts and attends to, for `mimgen gallery RUN`."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mimgen.analysis import attention_heatmap, has_attention, overlay, resting
from mimgen.analysis.encoder import level_grid
from mimgen.analysis.mask_images import masked_images, predicted_pixels, reconstructed
from mimgen.methods.attmask import class_attention
from mimgen.methods.base import Objective
from mimgen.methods.hpm.objective import HPM
from mimgen.report.page import Gallery, Item
from mimgen.targets import PixelTarget
from mimgen.types import Batch, Mask, SampleRNG

__all__ = ["FinishedRun", "attention_maps", "gallery", "mask_of", "predicted_images"]

NOT_PIXELS = "it predicts no pixels of a single image, so only masks and attention are shown"


@dataclass(frozen=True)
class FinishedRun:
    """A run's objective with averaged weights, in evaluation mode.

    Attributes:
        name: of the config that made it.
        objective: with the weights of the newest checkpoint.
        step: that of the checkpoint.
    """

    name: str
    objective: nn.Module
    step: int


@torch.no_grad()
def gallery(finished: FinishedRun, images: Tensor, captions: Sequence[str], seed: int = 0) -> Gallery:
    """Each of the images [B, 3, H, W] in [0, 1] beside its mask, its prediction and the encoder's attention."""
    objective: Any = finished.objective
    mask = mask_of(objective, images, SampleRNG([seed + row for row in range(len(images))]))
    columns = {"image": images}
    notes = []
    if mask is None:
        notes.append("its masks cannot be sampled for single images")
    else:
        patch = _side_of(mask, images)
        columns["masked"] = masked_images(images, mask, patch)
        reconstructed_images = predicted_images(objective, images, mask)
        if reconstructed_images is None:
            notes.append(NOT_PIXELS)
        else:
            columns |= {
                "reconstruction": reconstructed(images, reconstructed_images, mask, patch),
                "all predictions": reconstructed_images,
            }
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


def _reading(objective: Any, columns: dict[str, Tensor], notes: list[str]) -> str:
    notes_shown = ["Grey: masked; nearly black: masked and not scored."] if "masked" in columns else []
    if "reconstruction" in columns:
        notes_shown.append("Reconstruction: visible patches are pasted; all predictions: they are not.")
        if getattr(getattr(objective, "target", None), "normalise", False):
            notes_shown.append("The target is normalised by patch: mean and variance are those of the true patch.")
    if "attention" in columns:
        notes_shown.append(
            "Attention: bright is what the class token, or without one all patches, look at in the last block."
        )
    return " ".join([*notes_shown, *(f"Note: {note}." for note in notes)])


def mask_of(objective: Any, images: Tensor, rng: SampleRNG) -> Mask | None:
    """The objective's mask of images; of two views the first; None where it wants more than images."""
    if isinstance(objective, Objective):
        return objective.mask(Batch(images, rng=rng))
    masking: Any = getattr(objective, "masking", None)
    encoder: Any = objective.encoder
    names = set(inspect.signature(masking).parameters) if callable(masking) else set()
    target: Any = getattr(objective, "target", None)
    own: int = encoder.mask_patch if hasattr(encoder, "mask_patch") else encoder.patch
    patch: int = target.patch if hasattr(target, "patch") else own
    grid = (images.shape[-2] // patch, images.shape[-1] // patch)
    if names == {"grid", "rng"}:
        found = masking(grid, rng)
    elif names == {"grid", "rng", "guide"} and has_attention(encoder) and bool(getattr(encoder, "prefix", 0)):
        # the kept encoder stands for the teacher, which it is or which it resembles
        found = masking(grid, rng, class_attention(encoder(images, attention=(encoder.depth - 1,)).attention[0]))
    else:
        return None
    return found[0] if isinstance(found, tuple) else found


def predicted_images(objective: Any, images: Tensor, mask: Mask) -> Tensor | None:
    """What an objective tells of images [B, 3, H, W], as images in [0, 1]; None where it predicts no pixels."""
    if isinstance(objective, Objective):
        return objective.reconstruct(Batch(images), mask)
    target = getattr(objective, "target", None)
    if not isinstance(target, PixelTarget):
        return None
    if isinstance(objective, HPM):
        return predicted_pixels(target, objective.student(images, mask).patches, images)
    decoder = getattr(objective, "decoder", None)
    if decoder is None or [*inspect.signature(decoder.forward).parameters] != ["tokens", "mask"]:
        return None
    predicted = decoder(objective.encoder(images, mask), mask)
    complete = isinstance(predicted, Tensor) and predicted.shape == (*mask.masked.shape, target.dim)
    return predicted_pixels(target, predicted, images) if complete else None


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


def _side_of(mask: Mask, images: Tensor) -> int:
    """Side in pixels of the patches of a mask."""
    return round((images.shape[-2] * images.shape[-1] / mask.masked.shape[1]) ** 0.5)
