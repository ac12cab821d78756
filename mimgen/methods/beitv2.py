"""BEiT v2: predict the codes of masked patches, twice (arXiv 2208.06366)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mimgen.encoders.beit import BeitEncoder, Relative
from mimgen.encoders.vit import IMAGENET_MEAN, IMAGENET_STD
from mimgen.errors import UserError
from mimgen.layers.blocks.beit import BeitBlock, initialise
from mimgen.masking.block import Block
from mimgen.methods.base import Masking, Objective
from mimgen.ops.distributed import distributed_mean
from mimgen.papers import Paper
from mimgen.targets import CodeTarget
from mimgen.tokenizers import ImageQuantizer
from mimgen.types import Batch, Losses, Mask

PAPER = Paper(
    slug="beitv2",
    title="BEiT v2: Masked Image Modeling with Vector-Quantized Visual Tokenizers",
    arxiv="2208.06366",
    kind="reconstruct",
    cases=("beitv2", "beitv2_tokenizer", "block_mask"),
    config="pretrain/beitv2",
    result="emoji, 49 steps, 2 seeds, equal cost: k-NN 32.4 %, linear 44.0 % (MAE 34.4, 49.3 %)",
)


@dataclass(frozen=True)
class Predictions:
    """What the heads predict for the patches that enter the loss, rows in batch-major raster order.

    Attributes:
        codes: [M, K] logits of the last layer.
        second: [M, K or P] of the bottleneck's head, or None without one.
    """

    codes: Tensor
    second: Tensor | None


class BeitPretraining(BeitEncoder):
    """A `BeitEncoder` with mask token and heads; as an encoder it works like any other.

    The bottleneck (BEiT v2, section 2.2.2) reads the class token of the last block and the patch tokens
    after `early_layers` blocks, so what its head needs of the deeper blocks must pass the class token.
    Parameter names are those of the official releases of BEiT v2 and CCViT.

    Args:
        pixels: side of the images.
        patch: side of a patch.
        width: D.
        depth: number of blocks.
        heads: attention heads.
        mlp_ratio: hidden width of the MLPs over D.
        layer_scale: start of the layer scale; None or 0 for none.
        absolute: learned absolute positions.
        relative: relative position bias: none, one table shared by all blocks, or one per block.
        qkv_bias: biases on q and v.
        codes: number K of codes to tell apart.
        early_layers: blocks after which the bottleneck takes the patch tokens; None for no bottleneck.
        head_layers: blocks of the bottleneck.
        second: outputs of the bottleneck's own norm and head, or None to share those of the codes.
        mean: of each channel, taken off images in [0, 1].
        std: by which they are then divided.
        eps: of the layer norms.

    Raises:
        UserError: `early_layers` beyond `depth`.
    """

    def __init__(
        self,
        pixels: int = 224,
        patch: int = 16,
        width: int = 768,
        depth: int = 12,
        heads: int = 12,
        mlp_ratio: float = 4.0,
        layer_scale: float | None = 0.1,
        absolute: bool = False,
        relative: Relative = "shared",
        qkv_bias: bool = True,
        codes: int = 8192,
        early_layers: int | None = 9,
        head_layers: int = 2,
        second: int | None = None,
        mean: tuple[float, ...] = IMAGENET_MEAN,
        std: tuple[float, ...] = IMAGENET_STD,
        eps: float = 1e-6,
    ) -> None:
        if early_layers is not None and not 0 < early_layers <= depth:
            raise UserError(f"early_layers={early_layers} must lie in 1..{depth}, the blocks of this encoder")
        super().__init__(
            pixels, patch, width, depth, heads, mlp_ratio, layer_scale, absolute, relative, qkv_bias,
            mask_token=True, mean=mean, std=std, eps=eps,
        )  # fmt: skip
        self.early_layers = early_layers
        self.lm_head = nn.Linear(width, codes)
        if early_layers is not None:
            own = self.grid if relative == "block" else None
            self.cls_pt_layers = nn.ModuleList(
                BeitBlock(width, heads, mlp_ratio=mlp_ratio, layer_scale=layer_scale, qkv_bias=qkv_bias,
                          grid=own, eps=eps)
                for _ in range(head_layers)
            )  # fmt: skip
        bottleneck = early_layers is not None and second is not None
        self.cls_pt_norm = nn.LayerNorm(width, eps=eps) if bottleneck else None
        self.cls_pt_lm_head = nn.Linear(width, second or codes) if bottleneck else None
        initialise(self)

    def predict(self, images: Tensor, mask: Mask) -> Predictions:
        """Both heads on the patches `mask.predict`; those of `mask.masked` are shown as the mask token.

        Args:
            images: [B, 3, H, W] in [0, 1].
            mask: of N patches; what is scored need not be masked.
        """
        return self.predict_maps(self.normalised(images), mask.masked, mask.predict)

    def predict_maps(self, maps: Tensor, masked: Tensor, scored: Tensor) -> Predictions:
        """The same for normalised images [B, 3, H, W] and boolean sets [B, N]."""
        final, second = self.streams(maps, masked)
        codes = self.lm_head(final[:, 1:][scored])
        if second is None:
            return Predictions(codes, None)
        return Predictions(codes, (self.cls_pt_lm_head or self.lm_head)(second[:, 1:][scored]))

    def streams(self, maps: Tensor, masked: Tensor) -> tuple[Tensor, Tensor | None]:
        """Normed tokens [B, 1 + N, D] of the last block and of the bottleneck, class token first."""
        if self.early_layers is None:
            return self.closed(self.states(maps, masked)[0]), None
        final, (early,) = self.states(maps, masked, (self.early_layers - 1,))
        x, bias = torch.cat([final[:, :1], early[:, 1:]], dim=1), self.shared_bias()
        for block in self.cls_pt_layers:
            x = block(x, bias)
        return self.closed(final), self.closed(x) if self.cls_pt_norm is None else self.cls_pt_norm(x)


class BEiTv2(Objective):
    """Mean cross-entropy of masked patches' codes, by both heads (BEiT v2, equations 4 and 5).

    Masked: blocks of patches, shown as the mask token. BEiT's network sees the image; a bottleneck sees its deep
    layers through the class token only. Targets: the codes that a tokenizer gives the intact image. Loss:
    cross-entropy of the last layer and of the bottleneck.

    Args:
        encoder: network with a code head; what is kept afterwards. Without bottleneck there is one term (BEiT).
        tokenizer: one code per patch, as `VqKd`; frozen.
        masking: which patches are masked.
        bottleneck_weight: of the bottleneck's cross-entropy.

    Raises:
        UserError: an encoder that does not fit the tokenizer.
    """

    def __init__(
        self,
        encoder: BeitPretraining,
        tokenizer: ImageQuantizer,
        masking: Masking | None = None,
        *,
        bottleneck_weight: float = 1.0,
    ) -> None:
        super().__init__()
        self.encoder, self.target, self.masking = encoder, CodeTarget(tokenizer), masking or Block()
        second = encoder.cls_pt_lm_head
        heads = {encoder.lm_head.out_features, *(() if second is None else (second.out_features,))}
        if self.target.patch != encoder.patch or heads != {self.target.dim}:
            raise UserError(
                f"the tokenizer has {self.target.dim} codes for patches of {self.target.patch} pixels: build the "
                f"encoder with codes={self.target.dim} and patch={self.target.patch}, and "
                f"second=None or {self.target.dim}"
            )
        self.weights = {"bottleneck": bottleneck_weight}

    def forward(self, batch: Batch, mask: Mask | None = None) -> Losses:
        """Terms "code" and "bottleneck" (nats per masked patch); metric `accuracy` of the last layer."""
        mask = self.mask(batch) if mask is None else mask
        predicted = self.encoder.predict(batch.images, mask)  # of the S predicted patches: codes [S, K]
        target, count = self.target(batch.images)[mask.predict], mask.predict.sum()  # [S] ids
        terms = {"code": distributed_mean(self.target.loss(predicted.codes, target).sum(), count)}
        if predicted.second is not None:
            terms["bottleneck"] = distributed_mean(self.target.loss(predicted.second, target).sum(), count)
        correct = (predicted.codes.argmax(-1) == target).float()
        return Losses(terms, self.weights, {"accuracy": distributed_mean(correct.sum(), count)})

    def predict(self, batch: Batch, mask: Mask) -> Tensor:
        """[B, N, K], the last layer's logits of the codes of every patch."""
        everywhere = Mask(mask.masked, torch.ones_like(mask.masked))
        return self.encoder.predict(batch.images, everywhere).codes.unflatten(0, mask.masked.shape)
