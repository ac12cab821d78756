"""DMJD: two views that mask different patches, and a second branch for what is visible (arXiv 2301.00230).

Masked: two sets of blocks, chosen so that every patch is masked in one view at least. In their place:
nothing. Looks: an encoder of visible patches, on both views. Targets: whitened gradient histograms of the
intact image. Loss: squared error of masked patches, from the decoder, plus theta times the smooth absolute
error of visible patches, from a head on each token alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mimgen.errors import UserError
from mimgen.masking.disjoint import Disjoint
from mimgen.methods.base import Decoder
from mimgen.methods.dmjd.branch import VisibleBranch
from mimgen.ops.distributed import distributed_mean
from mimgen.targets import Target
from mimgen.training import Trainable
from mimgen.types import Batch, Losses, Mask, SampleRNG

Distance = Literal["squared", "absolute", "smooth"]
Views = Callable[[tuple[int, int], SampleRNG], tuple[Mask, Mask]]
BETA = 2.0  # where the smooth distance turns from squared to absolute


class DMJD(Trainable):
    """Objective: L = L_hidden + theta L_visible over two views (DMJD, equation 6).

    Args:
        encoder: leaves masked patches out; what is kept afterwards.
        decoder: predicts `target.dim` numbers for every patch; those of masked ones are scored.
        visible: predicts them for visible patches; None for the decoder alone.
        target: of both.
        masking: two masks of an image.
        theta: weight of the visible branch.
        distance: of masked patches.
        visible_distance: of visible ones.

    Raises:
        UserError: a branch that predicts another number of values than the target has, or an unknown distance.
    """

    def __init__(
        self,
        encoder: nn.Module,
        decoder: Decoder,
        visible: VisibleBranch | None,
        target: Target,
        masking: Views | None = None,
        *,
        theta: float = 1.0,
        distance: Distance = "squared",
        visible_distance: Distance = "smooth",
    ) -> None:
        super().__init__()
        wrong = [branch.dim for branch in (decoder, visible) if branch is not None and branch.dim != target.dim]
        if wrong:
            raise UserError(
                f"a branch predicts {wrong[0]} numbers per patch and the target has {target.dim}: build it for as many"
            )
        if not {distance, visible_distance} <= set(get_args(Distance)):
            raise UserError(
                f"distances {distance!r} and {visible_distance!r}: choose each from {', '.join(get_args(Distance))}"
            )
        self.encoder, self.decoder, self.visible, self.target = encoder, decoder, visible, target
        self.masking, self.theta = masking or Disjoint(), theta
        self.distance, self.visible_distance = distance, visible_distance

    def forward(self, batch: Batch) -> Losses:
        """Terms "masked" and "visible"; metric "coverage", the share of patches masked in a view at least."""
        images, patch = batch.images, self.target.patch
        masks = self.masking((images.shape[-2] // patch, images.shape[-1] // patch), batch.rng)
        first, second = (mask.masked.to(images.device) for mask in masks)
        return self.losses(images, Mask(torch.cat([first, second])), self.target(images))

    def losses(self, images: Tensor, mask: Mask, goal: Tensor, pairs: Tensor | None = None) -> Losses:
        """The losses of chosen views.

        Args:
            images: [B, 3, H, W] in [0, 1].
            mask: [2B, N], the first views of all images, then the second ones.
            goal: [B, N, D] targets.
            pairs: [2B, K], for every visible patch the one with whose target it is compared, both counted among
                the visible in ascending order; itself by default. The official code compares predictions in a
                shuffled order with targets in ascending order; this lets its numbers be had.
        """
        tokens = self.encoder(images.repeat(2, 1, 1, 1), mask)
        goals, masked = goal.repeat(2, 1, 1), mask.predict
        error = _distance(self.distance, self.decoder(tokens, mask), goals)
        terms = {"masked": distributed_mean((error * masked).sum(), masked.sum())}
        if self.visible is not None:
            kept = _rows(goals, mask.keep)
            kept = kept if pairs is None else _rows(kept, pairs)
            error = _distance(self.visible_distance, self.visible(tokens), kept)
            terms["visible"] = distributed_mean(error.sum(), torch.tensor(error.numel(), device=error.device))
        first, second = masked.chunk(2)
        return Losses(terms, {"visible": self.theta}, {"coverage": (first | second).float().mean()})


def _rows(values: Tensor, positions: Tensor) -> Tensor:
    """Values [B, N, D] at positions [B, K]: [B, K, D]."""
    return values.gather(1, positions.to(values.device)[..., None].expand(-1, -1, values.shape[-1]))


def _distance(kind: Distance, predicted: Tensor, goal: Tensor) -> Tensor:
    """[..., D] and [..., D] to [...], mean over the last."""
    if kind == "smooth":
        return F.smooth_l1_loss(predicted.float(), goal, beta=BETA, reduction="none").mean(-1)
    difference = predicted.float() - goal
    return (difference.square() if kind == "squared" else difference.abs()).mean(-1)
