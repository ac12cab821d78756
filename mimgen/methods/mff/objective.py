"""MFF: MAE whose decoder reads a learned mixture of low and high layers (arXiv 2308.00261).

Masked: random patches. In their place: nothing. Looks: a ViT; its tapped layers are mixed, then comes its
last norm and MAE's decoder. Targets: normalised pixels. Loss: squared error of masked patches.

The mixture is of pretraining only: afterwards the encoder is the plain ViT, whose last norm then works on its
last block alone.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
from torch import Tensor

from mimgen.encoders.taps import check_taps, tap
from mimgen.encoders.vit import VitEncoder
from mimgen.errors import UserError
from mimgen.methods.base import Decoder, Masking
from mimgen.methods.mff.fusion import LayerFusion
from mimgen.methods.mim import MIM
from mimgen.targets import Target
from mimgen.types import Batch, Losses, Mask, Tokens


class MFF(MIM):
    """Objective: `MIM` whose decoder reads norm(fusion of the taps) (MFF, section 3.3).

    Args:
        encoder: what is kept afterwards.
        decoder: as of `MIM`.
        target: what is predicted.
        masking: which patches are masked.
        fusion: of as many layers as there are taps.
        taps: blocks counted from 0, ascending; 0, 2, 4, 6, 8, 11 for 12 blocks. With the last block alone this
            is MAE.

    Raises:
        UserError: taps that do not exist or whose number is not that of the fusion; else as `MIM`.
    """

    encoder: VitEncoder

    def __init__(
        self,
        encoder: VitEncoder,
        decoder: Decoder,
        target: Target,
        masking: Masking,
        fusion: LayerFusion,
        taps: Sequence[int],
    ) -> None:
        super().__init__(encoder, decoder, target, masking)
        self.taps = check_taps(taps, encoder.depth)
        if len(self.taps) != len(fusion.weights):
            raise UserError(f"{len(self.taps)} taps for a fusion of {len(fusion.weights)} layers: give one per layer")
        self.fusion = fusion

    def forward(self, batch: Batch, mask: Mask | None = None) -> Losses:
        """Term "reconstruction"; metrics "share_<block>", the weight of each tap in the mixture."""
        found = super().forward(batch, mask)
        shares = zip(self.taps, self.fusion.shares.detach(), strict=True)
        return dataclasses.replace(found, metrics={f"share_{block}": share for block, share in shares})

    def predict(self, batch: Batch, mask: Mask) -> Tensor:
        """[B, N, D], the decoder's output for every patch."""
        return self.decoder(self.fused(batch.images, mask), mask)

    def fused(self, images: Tensor, mask: Mask) -> Tokens:
        """The tokens that the decoder reads: class token and visible patches, mixed and normed."""
        levels = tap(self.encoder, images, mask, self.taps)
        x = self.fusion([torch.cat([level.prefix, level.patches], dim=1) for level in levels])
        x = x if self.encoder.mean_pooled else self.encoder.norm(x)
        prefix = self.encoder.prefix
        return Tokens(x[:, prefix:], levels[0].grid, x[:, :prefix])
