"""DMJD: two views with disjoint masks, and a second branch for what is visible (arXiv 2301.00230)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mimgen.errors import UserError
from mimgen.masking.disjoint import Disjoint
from mimgen.methods.base import Decoder, Objective, grid_of
from mimgen.methods.dmjd.branch import VisibleBranch
from mimgen.ops.distributed import distributed_mean
from mimgen.ops.positions import gather_tokens
from mimgen.targets import Target
from mimgen.types import Batch, Losses, Mask, SampleRNG

Distance = Literal["squared", "absolute", "smooth"]
Views = Callable[[tuple[int, int], SampleRNG], tuple[Mask, Mask]]
BETA = 2.0  # where the smooth distance turns from squared to absolute


class DMJD(Objective):
    """L = L_masked + theta L_visible over two views (DMJD, equation 6).

    Two sets of blocks are masked, so that every patch is masked in one view at least, and left out of the encoder.
    The decoder predicts whitened gradient histograms of masked patches; a head on each visible token alone predicts
    those of its own patch.

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

    def forward(self, batch: Batch, mask: Mask | None = None, *, pairs: Tensor | None = None) -> Losses:
        """Terms "masked" and "visible"; metric "coverage", the share of patches masked in a view at least.

        Args:
            batch: images [B, 3, H, W].
            mask: [V B, N], the first views of all images, then the second ones; by default those of `masks(batch)`.
            pairs: [V B, K], for every visible patch the one with whose target it is compared, both counted among
                the visible in ascending order; itself by default. The official code compares predictions in a
                shuffled order with targets in ascending order; this reproduces its numbers.
        """
        mask = self.masks(batch) if mask is None else mask
        views = len(mask.masked) // len(batch)
        tokens = self.encoder(batch.images.repeat(views, 1, 1, 1), mask)
        targets, masked = self.target(batch.images).repeat(views, 1, 1), mask.predict  # [V B, N, D], [V B, N]
        error = _distance(self.distance, self.decoder(tokens, mask), targets)
        terms = {"masked": distributed_mean((error * masked).sum(), masked.sum())}
        if self.visible is not None:
            kept = gather_tokens(targets, mask.keep)  # [V B, K, D]
            kept = kept if pairs is None else gather_tokens(kept, pairs.to(kept.device))
            error = _distance(self.visible_distance, self.visible(tokens), kept)
            terms["visible"] = distributed_mean(error.sum(), torch.tensor(error.numel(), device=error.device))
        coverage = masked.unflatten(0, (views, -1)).any(0).float().mean()
        return Losses(terms, {"visible": self.theta}, {"coverage": coverage})

    def masks(self, batch: Batch) -> Mask:
        """The masks [2 B, N] of both views, the first views of all images before the second ones."""
        first, second = self.masking(grid_of(batch.images, self.target.patch), batch.rng)
        return Mask(torch.cat([first.masked, second.masked])).to(batch.images.device)

    def mask(self, batch: Batch) -> Mask:
        """The mask [B, N] of the first view."""
        return Mask(self.masks(batch).masked[: len(batch)])

    def predict(self, batch: Batch, mask: Mask) -> Tensor:
        """[B, N, D], the decoder's output for every patch."""
        return self.decoder(self.encoder(batch.images, mask), mask)


def _distance(kind: Distance, predicted: Tensor, goal: Tensor) -> Tensor:
    """[..., D] and [..., D] to [...], mean over the last."""
    if kind == "smooth":
        return F.smooth_l1_loss(predicted.float(), goal, beta=BETA, reduction="none").mean(-1)
    difference = predicted.float() - goal
    return (difference.square() if kind == "squared" else difference.abs()).mean(-1)
