"""CCViT: predict the centroid of masked and of replaced patches, and their pixels (arXiv 2303.04664).

Masked: blocks of patches. In their place: the mask token; further patches are replaced by their
centroids. Looks: BEiT v2's network. Targets: ids of the intact image, and pixels normalised by patch.
Loss: cross-entropy and mean squared error, on masked and replaced patches.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor

from mimgen.errors import UserError
from mimgen.masking.block import Block
from mimgen.methods.beitv2.network import BeitPretraining
from mimgen.methods.ccvit.replacement import choose_visible, paste
from mimgen.ops.distributed import distributed_mean
from mimgen.targets import CodeTarget, PixelTarget
from mimgen.tokenizers import Tokenizer
from mimgen.training import Trainable
from mimgen.types import Batch, Losses, Mask


class CCViT(Trainable):
    """Objective: loss = cross-entropy of the codes + mean squared error of the pixels (CCViT, section 3.3).

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
        self.encoder, self.codes, self.pixels = encoder, CodeTarget(tokenizer), PixelTarget(encoder.patch)
        pixel_head = encoder.cls_pt_lm_head
        if tokenizer.downsample != encoder.patch or encoder.lm_head.out_features != self.codes.dim:
            raise UserError(
                f"the tokenizer has {self.codes.dim} codes for patches of {tokenizer.downsample} pixels: build "
                f"the encoder with codes={self.codes.dim} and patch={tokenizer.downsample}"
            )
        if pixel_head is None or pixel_head.out_features != self.pixels.dim:
            raise UserError(
                f"the second head must predict pixels: build the encoder with early_layers and second={self.pixels.dim}"
            )
        self.masking, self.replaced = masking or Block(), replaced
        self.weights = {"code": code_weight, "pixel": pixel_weight}

    @property
    def tokenizer(self) -> Tokenizer:
        """The frozen tokenizer; registered once, as part of the target."""
        return cast(Tokenizer, self.codes.coder)

    def forward(self, batch: Batch) -> Losses:
        """Terms "code" (nats a scored patch) and "pixel"; metric `accuracy` of the codes."""
        grid = tuple(side // self.encoder.patch for side in batch.images.shape[-2:])
        mask = self.masking((grid[0], grid[1]), batch.rng)
        replaced = choose_visible(mask, self.replaced, batch.rng).to(batch.images.device)
        return self.losses(batch.images, batch.images, mask.masked.to(batch.images.device), replaced)

    def losses(self, images: Tensor, goal: Tensor, masked: Tensor, replaced: Tensor) -> Losses:
        """Losses for chosen patches.

        Args:
            images: [B, 3, H, W] in [0, 1], what the encoder sees once it is corrupted.
            goal: [B, 3, H, W] in [0, 1], the same crop, from which ids and pixels are taken.
            masked: [B, N] boolean.
            replaced: [B, N] boolean, apart from `masked`.
        """
        ids, scored = self.codes(goal), masked | replaced
        predicted = self.encoder.predict(self.corrupted(images, ids, replaced), Mask(masked, scored))
        assert predicted.second is not None, "checked when this objective was built"
        code = self.codes.loss(predicted.codes, ids[scored])
        pixel = self.pixels.loss(predicted.second, self.pixels(goal)[scored])
        right = (predicted.codes.argmax(-1) == ids[scored]).float()
        count = scored.sum()
        return Losses(
            {"code": distributed_mean(code.sum(), count), "pixel": distributed_mean(pixel.sum(), count)},
            self.weights,
            {"accuracy": distributed_mean(right.sum(), count)},
        )

    @torch.no_grad()
    def corrupted(self, images: Tensor, ids: Tensor, replaced: Tensor) -> Tensor:
        """Images [B, 3, H, W] with the replaced patches [B, N] as the tokenizer samples their ids [B, N]."""
        patch = self.encoder.patch
        grid = (images.shape[-2] // patch, images.shape[-1] // patch)
        return paste(images, self.tokenizer.decode(ids.unflatten(1, grid)), replaced, patch)
