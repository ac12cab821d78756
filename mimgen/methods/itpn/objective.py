"""iTPN: pretrain a backbone together with its feature pyramid (arXiv 2211.12735)."""

from __future__ import annotations

import torch
from torch import Tensor

from mimgen.decoders.pyramid import FeatureHeads
from mimgen.encoders.hivit import HiVitEncoder
from mimgen.errors import UserError
from mimgen.masking.block import Block
from mimgen.methods.base import Masking, Objective
from mimgen.methods.mim import MIM
from mimgen.ops.distributed import distributed_mean
from mimgen.targets import Target
from mimgen.types import Batch, Losses, Mask


class ITPN(MIM):
    """MAE whose decoder reads the encoder's pyramid (iTPN, section 3), a `PyramidDecoder`.

    Random patches are left out at all scales of HiViT; the decoder reads the sum of the levels that its neck makes.
    """

    def predict(self, batch: Batch, mask: Mask) -> Tensor:
        """[B, N, D], what the decoder says of every patch of images [B, 3, H, W]."""
        encoder: HiVitEncoder = self.encoder  # type: ignore[assignment]
        return self.decoder(encoder.pyramid(batch.images, mask), mask)


class ITPNDistillation(Objective):
    """The pyramid and an earlier block predict a teacher's features (iTPN, section 3).

    Blocks of patches are shown as a mask token where attention starts; the features of all patches are predicted.

    Args:
        encoder: with `mask_token`; what is kept afterwards.
        heads: predict `target.dim` numbers per patch.
        target: features of a frozen teacher, and their distance.
        masking: which patches are masked; 75 of 196 in blocks in the paper.
        early: share of the attention blocks after which the auxiliary head reads.
        auxiliary_weight: of its loss.
        masked_only: score masked patches alone; the release scores all, as all of them must be predicted from a
            image of which parts are missing.

    Raises:
        UserError: an encoder that leaves masked patches out, or heads of another width than the target.
    """

    def __init__(
        self,
        encoder: HiVitEncoder,
        heads: FeatureHeads,
        target: Target,
        masking: Masking | None = None,
        *,
        early: float = 0.75,
        auxiliary_weight: float = 1.0,
        masked_only: bool = False,
    ) -> None:
        super().__init__()
        if encoder.mask_token is None:
            raise UserError("this objective predicts every patch: build the encoder with mask_token=True")
        if heads.dim != target.dim or encoder.patch != target.patch:
            raise UserError(
                f"the heads predict {heads.dim} numbers for patches of {encoder.patch} pixels, the target has "
                f"{target.dim} for {target.patch}: build them alike"
            )
        attention = encoder.depth - encoder.stem
        if not 0 <= int(early * attention) < attention:
            raise UserError(f"early={early} of {attention} blocks is no block: choose a share from 0 to below 1")
        self.encoder, self.heads, self.target = encoder, heads, target
        self.masking: Masking = masking or Block()
        self.layer = encoder.stem + int(early * attention)
        self.weights, self.masked_only = {"auxiliary": auxiliary_weight}, masked_only

    def forward(self, batch: Batch, mask: Mask | None = None) -> Losses:
        """Terms "features" (of the pyramid) and "auxiliary" (of the earlier block)."""
        mask = self.mask(batch) if mask is None else mask
        levels = self.heads(self.encoder.pyramid(batch.images, mask, layers=(self.layer,)))
        target = self.target(batch.images)  # [B, N, D], of the intact images
        scored = mask.masked if self.masked_only else torch.ones_like(mask.masked)
        terms = {
            name: distributed_mean(self.target.loss(predicted[scored], target[scored]).sum(), scored.sum())
            for name, predicted in (("features", levels.main), ("auxiliary", levels.auxiliary))
        }
        return Losses(terms, self.weights)

    def predict(self, batch: Batch, mask: Mask) -> Tensor:
        """[B, N, D], what the pyramid says of every patch."""
        return self.heads(self.encoder.pyramid(batch.images, mask, layers=(self.layer,))).main
