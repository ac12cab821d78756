"""The loss of masked image modelling as a measure: the same masks for the same images, every time."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mimgen.data import Dataset, load_images
from mimgen.errors import UserError
from mimgen.methods.base import Objective
from mimgen.papers import Paper
from mimgen.types import Batch, SampleRNG, mix_seed

__all__ = ["LossCurve", "load_split", "masked_loss"]

PAPER = Paper(
    slug="datascaling",
    title="On Data Scaling in Masked Image Modeling",
    arxiv="2206.04664",
    kind="reconstruct",
    cases=("simmim",),
    command="mimgen compare scaling",
)


@torch.no_grad()
def masked_loss(
    objective: Objective, images: Tensor, keys: Sequence[str], *, masks: int = 4, seed: int = 0, batch: int = 64
) -> float:
    """Mean distance of a masked patch over images and masks, in evaluation mode.

    The masks depend on the key of an image, its number and `seed` alone, so the value does not depend on the
    order or the batch, and values are comparable between models with the same target and masking.

    Args:
        objective: its mode is put back afterwards.
        images: [n, 3, H, W] in [0, 1].
        keys: n names, one per image.
        masks: masks sampled for each image.
        seed: of the masks.
        batch: images at a time.

    Raises:
        UserError: no images, names that do not fit, no mask, or a loss that is not finite.
    """
    if not len(images) or len(images) != len(keys) or masks < 1:
        raise UserError(f"masked loss: {len(images)} images, {len(keys)} keys and {masks} masks: give at least one")
    device = next(objective.parameters()).device
    training, total, count = objective.training, 0.0, 0
    objective.eval()
    try:
        for number in range(masks):
            for start in range(0, len(images), batch):
                part = images[start : start + batch].to(device)
                names = keys[start : start + batch]
                rng = SampleRNG([mix_seed(seed, "masked loss", key, number) for key in names])
                # a mask has the same count in every row, so a batch weighs as many patches as it has images
                total += float(objective(Batch(part, rng=rng)).total) * len(part)
                count += len(part)
    finally:
        objective.train(training)
    loss = total / max(1, count)
    if not torch.isfinite(torch.tensor(loss)):
        raise UserError("masked loss: the value is not finite; the model has diverged")
    return loss


@dataclass(frozen=True)
class LossCurve:
    """Masked losses of fixed images along a training, as the loop's `images` hook.

    Attributes:
        path: the file that gets a line with every loss whenever the loop calls.
        parts: images [n, 3, H, W] with their n keys, by the name of the loss.
        masks: see `masked_loss`.
        seed: see `masked_loss`.
    """

    path: Path
    parts: Mapping[str, tuple[Tensor, Sequence[str]]]
    masks: int = 4
    seed: int = 0

    def __call__(self, objective: Any, step: int) -> dict[str, Tensor]:
        """Add a line; returns no images."""
        losses = {
            name: masked_loss(objective, images, keys, masks=self.masks, seed=self.seed)
            for name, (images, keys) in self.parts.items()
        }
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, **losses}) + "\n")
        return {}

    def points(self) -> list[dict[str, Any]]:
        """The lines by step; of a step that was repeated after an interruption the last one."""
        lines = [json.loads(line) for line in self.path.read_text(encoding="utf-8").splitlines()]
        return [line for _, line in sorted({line["step"]: line for line in lines}.items())]


def load_split(dataset: Dataset, limit: int | None = None) -> tuple[Tensor, list[str], Tensor]:
    """All images or `limit`, evenly spaced: [n, 3, S, S] in [0, 1], n keys, [n] finest labels (-1 without labels)."""
    chosen = range(0, len(dataset), 1 if limit is None else max(1, len(dataset) // limit))[:limit]
    label = next(reversed(dataset.label_names), None)
    samples = [dataset[index] for index in chosen]
    labels = torch.tensor([-1 if label is None else sample.labels[label] for sample in samples])
    return load_images(dataset, chosen), [sample.key for sample in samples], labels
