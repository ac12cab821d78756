"""CCViT: predict the centroid of masked and of replaced patches, and their pixels (arXiv 2303.04664)."""

from __future__ import annotations

import dataclasses
from typing import cast

import torch
from torch import Tensor

from mimgen.errors import UserError
from mimgen.masking.block import Block
from mimgen.methods.base import Objective, grid_of
from mimgen.methods.beitv2 import BeitPretraining
from mimgen.ops.distributed import distributed_mean
from mimgen.ops.tiling import paste
from mimgen.papers import Paper
from mimgen.targets import CodeTarget, PixelTarget
from mimgen.tokenizers import Tokenizer
from mimgen.types import Batch, Losses, Mask, SampleRNG

PAPER = Paper(
    slug="ccvit",
    title="Centroid-centered Modeling for Efficient Vision Transformer Pre-training",
    arxiv="2303.04664",
    kind="reconstruct",
    cases=("ccvit",),
    config="pretrain/ccvit",
    result="emoji, 99 steps, 2 seeds, equal cost: k-NN 34.5 %, linear 46.0 % (MAE 34.4, 49.3 %)",
)


class CCViT(Objective):
    """Cross-entropy of the codes + mean squared error of the pixels (CCViT, section 3.3).

    Masked: blocks of patches, shown as the mask token; further patches are replaced by their centroids. BEiT v2's
    network sees the image. Targets: the codes of the intact image, and pixels normalised by patch. Loss:
    cross-entropy and mean squared error, on masked and replaced patches.

    Args:
        encoder: network with a code head and a pixel head; what is kept afterwards.
        tokenizer: centroids, or any other tokenizer of patches; frozen.
        masking: which patches are masked.
        replaced: visible patches shown as the tokenizer's rendering; 20 of 196 in the paper.
        code_weight: of the cross-entropy.
        pixel_weight: of the squared error.

    Raises:
        UserError: heads that do not fit the tokenizer or the patch.
    """

    def __init__(
        self,
        encoder: BeitPretraining,
        tokenizer: Tokenizer,
        masking: Block | None = None,
        *,
        replaced: int = 20,
        code_weight: float = 1.0,
        pixel_weight: float = 1.0,
    ) -> None:
        super().__init__()
        self.encoder, self.target, self.pixels = encoder, CodeTarget(tokenizer), PixelTarget(encoder.patch)
        pixel_head = encoder.cls_pt_lm_head
        if tokenizer.downsample != encoder.patch or encoder.lm_head.out_features != self.target.dim:
            raise UserError(
                f"the tokenizer has {self.target.dim} codes for patches of {tokenizer.downsample} pixels: build "
                f"the encoder with codes={self.target.dim} and patch={tokenizer.downsample}"
            )
        if pixel_head is None or pixel_head.out_features != self.pixels.dim:
            raise UserError(
                f"the second head must predict pixels: build the encoder with early_layers and second={self.pixels.dim}"
            )
        self.masking, self.replaced = masking or Block(), replaced
        self.weights = {"code": code_weight, "pixel": pixel_weight}

    def forward(self, batch: Batch, mask: Mask | None = None) -> Losses:
        """Terms "code" (nats per scored patch) and "pixel"; metric `accuracy` of the codes."""
        mask = self.mask(batch) if mask is None else mask
        ids, count = self.target(batch.images), mask.predict.sum()  # [B, N]
        predicted = self.encoder.predict(self.corrupted(batch.images, ids, mask), mask)  # codes [S, K]
        assert predicted.second is not None, "checked when this objective was built"
        target = ids[mask.predict]  # [S]
        code = self.target.loss(predicted.codes, target)  # [S]
        pixel = self.pixels.loss(predicted.second, self.pixels(batch.images)[mask.predict])  # [S]
        correct = (predicted.codes.argmax(-1) == target).float()
        return Losses(
            {"code": distributed_mean(code.sum(), count), "pixel": distributed_mean(pixel.sum(), count)},
            self.weights,
            {"accuracy": distributed_mean(correct.sum(), count)},
        )

    def mask(self, batch: Batch) -> Mask:
        """The mask of images [B, 3, H, W]; both masked and replaced patches enter the loss."""
        mask: Mask = self.masking(grid_of(batch.images, self.encoder.patch), batch.rng)
        replaced = choose_visible(mask, self.replaced, batch.rng)
        return Mask(mask.masked, mask.masked | replaced, replaced).to(batch.images.device)

    def corrupted(self, images: Tensor, ids: Tensor, mask: Mask) -> Tensor:
        """Images [B, 3, H, W] with the replaced patches as the tokenizer decodes their ids [B, N]."""
        assert mask.replaced is not None, "a mask of this objective says which patches are replaced"
        patch, tokenizer = self.encoder.patch, cast(Tokenizer, self.target.coder)
        with torch.no_grad():
            rendered = tokenizer.decode(ids.unflatten(1, grid_of(images, patch)))  # [B, 3, H, W]
        return paste(images, rendered, mask.replaced, patch)

    def predict(self, batch: Batch, mask: Mask) -> Tensor:
        """[B, N, K], the logits of the codes of every patch."""
        return self._heads(batch, mask)[0]

    def reconstruct(self, batch: Batch, mask: Mask) -> Tensor:
        """The pixels that the second head predicts, as images [B, 3, H, W] in [0, 1]."""
        return self.pixels.unnormalised(self._heads(batch, mask)[1], batch.images)

    def _heads(self, batch: Batch, mask: Mask) -> tuple[Tensor, Tensor]:
        """Codes [B, N, K] and pixels [B, N, P] of every patch."""
        shown = self.corrupted(batch.images, self.target(batch.images), mask)
        everywhere = dataclasses.replace(mask, scored=torch.ones_like(mask.masked))
        predicted = self.encoder.predict(shown, everywhere)
        assert predicted.second is not None, "checked when this objective was built"
        return predicted.codes.unflatten(0, mask.masked.shape), predicted.second.unflatten(0, mask.masked.shape)


def choose_visible(mask: Mask, count: int, rng: SampleRNG) -> Tensor:
    """Choose `count` patches of each row that are not masked.

    Args:
        mask: of N patches.
        count: how many; at most as many as are visible.
        rng: one stream per row.

    Returns:
        [B, N] boolean on the device of the mask.

    Raises:
        UserError: fewer visible patches than `count`.
    """
    tokens = mask.masked.shape[1]
    visible = tokens - int(mask.masked.sum(1).max()) if len(mask.masked) else tokens
    if not 0 <= count <= visible:
        raise UserError(f"cannot replace {count} of {visible} visible patches: mask or replace fewer")
    keys = rng.uniform(tokens).to(mask.masked.device).masked_fill(mask.masked, 2)
    return keys.argsort(dim=1).argsort(dim=1) < count
