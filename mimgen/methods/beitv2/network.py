"""BEiT v2's network for pretraining: a code head, and a second head behind a class-token bottleneck."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mimgen.encoders.beit import BeitEncoder, Relative
from mimgen.encoders.vit import IMAGENET_MEAN, IMAGENET_STD
from mimgen.errors import UserError
from mimgen.layers.blocks.beit import BeitBlock, initialise
from mimgen.types import Mask


@dataclass(frozen=True)
class Predictions:
    """What the heads say about the scored patches, rows in batch-major raster order.

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
