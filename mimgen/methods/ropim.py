"""ROPIM: every patch is partly masked by a random projection, and what that removes is predicted (arXiv 2310.18737)."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from mimgen.decoders.mae import LinearDecoder
from mimgen.encoders.beit import BeitEncoder
from mimgen.errors import UserError
from mimgen.methods.base import Objective, check_width, grid_of
from mimgen.ops.distributed import distributed_mean
from mimgen.papers import Paper
from mimgen.targets import PixelTarget
from mimgen.types import Batch, Losses, Mask, SampleRNG

__all__ = ["PAPER", "ROPIM", "CountSketch", "ProjectionMask"]

PAPER = Paper(
    slug="ropim",
    title="Pre-training with Random Orthogonal Projection Image Modeling",
    arxiv="2310.18737",
    kind="reconstruct",
    cases=("ropim",),
    config="pretrain/ropim",
)

Space = Literal["complement", "all", "retained"]


@dataclass(frozen=True)
class ProjectionMask(Mask):
    """A mask that is not binary: a projection of the tokens, under which every patch is masked in part.

    Attributes:
        projection: [B, N, N] symmetric matrix P; P X is what is shown of tokens X [B, N, D].
    """

    projection: Tensor | None = None

    def to(self, device: torch.device | str) -> ProjectionMask:
        """The same mask with its tensors on `device`."""
        assert self.projection is not None, "set by CountSketch"
        return replace(self, masked=self.masked.to(device), projection=self.projection.to(device))


@dataclass(frozen=True)
class CountSketch:
    """Random orthogonal projections of N tokens to K dimensions by balanced count sketches (ROPIM, section 3.2).

    A token is hashed to one of K buckets, N / K tokens to each, with a sign; half of the signs are negative. With S
    [N, K] of one such sign per row, S^T S = N / K, so P = K / N S S^T is an orthogonal projection.

    Attributes:
        ratio: K is `ratio` N, rounded up; 1/7 of 196 patches in the paper.
        scale: factor of S S^T; None for K / N. The released code takes 0.14 for 1/7, whose P is 0.98 of a projection.
        swapped: project on the other N - K dimensions, I - P.
    """

    ratio: float = 1 / 7
    scale: float | None = None
    swapped: bool = False

    def buckets(self, tokens: int) -> int:
        """K for N tokens.

        Raises:
            UserError: a share outside (0, 1), or one whose buckets cannot hold equally many tokens.
        """
        if not 0 < self.ratio < 1:
            raise UserError(f"ratio {self.ratio}: give a share of dimensions above 0 and below 1")
        count = math.ceil(self.ratio * tokens - 1e-9)  # 196 / 7 is a little more than 28 in floating point
        if tokens % count:
            fitting = [k for k in range(1, tokens) if tokens % k == 0]
            nearest = min(fitting, key=lambda k: abs(k - count))
            raise UserError(
                f"{tokens} patches do not fill {count} buckets evenly: take ratio {nearest}/{tokens} = "
                f"{nearest / tokens:.4g}"
            )
        return count

    def __call__(self, grid: tuple[int, int], rng: SampleRNG) -> ProjectionMask:
        """One projection per image, for patches in raster order."""
        tokens = grid[0] * grid[1]
        count = self.buckets(tokens)
        permutations = rng.uniform(tokens // count, count).argsort(-1)  # [B, N / K, K]
        signs = 1.0 - 2.0 * (rng.uniform(tokens).argsort(-1) % 2)  # [B, N], half of them -1
        projection = self.projection(permutations, signs)
        return ProjectionMask(torch.ones(projection.shape[:2], dtype=torch.bool), projection=projection)

    def projection(self, permutations: Tensor, signs: Tensor) -> Tensor:
        """[B, N, N] for permutations [B, N / K, K] of the buckets and signs [B, N]."""
        tokens, count = signs.shape[1], permutations.shape[2]
        sketch = F.one_hot(permutations.flatten(1), count).float() * signs[..., None]  # S, [B, N, K]
        scale = count / tokens if self.scale is None else self.scale
        projection = scale * sketch @ sketch.transpose(1, 2)
        return torch.eye(tokens, device=signs.device) - projection if self.swapped else projection


class ROPIM(Objective):
    """Mean absolute error of the pixels in the space that the projection removes (ROPIM, equation 5).

    The patch embeddings X of an image are shown as P X, a mixture of all patches, to a BEiT encoder of the whole grid,
    which adds positions afterwards; a linear layer predicts pixels. With R the error of all patches, (I - P) R is
    scored: what the input still told is not supervised. A binary mask is the special case of a diagonal P.

    Args:
        encoder: what is kept afterwards; encodes intact images with P = I.
        decoder: predicts the pixels under every patch.
        target: pixels in the order (channel, row, column), as the decoder gives them.
        masking: samples the projections.
        mixed: show P X; otherwise the intact tokens (the official ablation), with the same loss.
        space: where the error is scored: "complement" (the method), "all", or "retained" (a control: P R).

    Raises:
        UserError: a decoder for another target, or an unknown space.
    """

    def __init__(
        self,
        encoder: BeitEncoder,
        decoder: LinearDecoder,
        target: PixelTarget,
        masking: CountSketch | None = None,
        *,
        mixed: bool = True,
        space: Space = "complement",
    ) -> None:
        super().__init__()
        check_width(decoder, target)
        if space not in ("complement", "all", "retained"):
            raise UserError(f'space {space!r} is unknown: choose "complement", "all" or "retained"')
        self.encoder, self.decoder, self.target = encoder, decoder, target
        self.masking, self.mixed, self.space = masking or CountSketch(), mixed, space

    def forward(self, batch: Batch, mask: Mask | None = None) -> Losses:
        """Term "reconstruction": mean absolute error per number, in the chosen space."""
        mask = self.mask(batch) if mask is None else mask
        error = self.target(batch.images) - self.predict(batch, mask).float()  # R, [B, N, D]
        if self.space != "all":
            retained = projection_of(mask).to(error) @ error
            error = retained if self.space == "retained" else error - retained
        return Losses({"reconstruction": distributed_mean(error.abs().sum(), error.new_tensor(error.numel()))})

    def mask(self, batch: Batch) -> Mask:
        """The projection of every image as a mask [B, N] that covers all patches in part."""
        return self.masking(grid_of(batch.images, self.encoder.patch), batch.rng).to(batch.images.device)

    def predict(self, batch: Batch, mask: Mask) -> Tensor:
        """[B, N, D], the decoder's output for every patch."""
        projection = projection_of(mask).to(batch.images) if self.mixed else None
        return self.decoder(self.encoder(batch.images, mix=projection))


def projection_of(mask: Mask) -> Tensor:
    """The projection [B, N, N] of a mask; of a binary one, the diagonal matrix of what is visible."""
    if isinstance(mask, ProjectionMask) and mask.projection is not None:
        return mask.projection
    return torch.diag_embed((~mask.masked).float())
