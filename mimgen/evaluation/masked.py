"""The loss of masked image modelling as a measure: the same masks for the same images, every time."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mimgen.errors import UserError
from mimgen.methods.base import Objective
from mimgen.papers import Paper
from mimgen.types import Batch, SampleRNG, mix_seed

__all__ = ["masked_loss"]

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
