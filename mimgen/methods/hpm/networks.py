"""The networks of HPM: MAE's decoder with a second one that predicts how hard a patch is, and a veiling encoder."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mimgen.decoders.mae import MaeDecoder
from mimgen.encoders.mae import init_weights
from mimgen.encoders.vit import VitEncoder
from mimgen.layers.blocks.vit import VitBlock
from mimgen.layers.position import resize_position_table
from mimgen.types import Mask, Tokens


@dataclass(frozen=True)
class HPMOutput:
    """What `LossPredictor` says of every patch.

    Attributes:
        patches: [B, N, output] prediction of the target.
        losses: [B, N] how far off it will be, on no particular scale.
    """

    patches: Tensor
    losses: Tensor


class LossPredictor(MaeDecoder):
    """Two decoders on one input: MAE's, and one that predicts its loss for each patch (HPM, section 3.2).

    Args:
        image_size: side in pixels, or (rows, columns), of the images that the position table is made for.
        patch: side of a patch in pixels.
        encoder_width: width of the encoder's tokens.
        width: of both decoders.
        depth: blocks of each.
        heads: attention heads.
        output: numbers predicted for each patch; those of its pixels by default.
        prefix: class or register tokens of the encoder.
        mlp_ratio: hidden width of the MLPs over `width`.
        eps: of the layer norms.
    """

    def __init__(
        self,
        image_size: int | tuple[int, int] = 224,
        patch: int = 16,
        encoder_width: int = 768,
        width: int = 512,
        depth: int = 8,
        heads: int = 16,
        output: int | None = None,
        prefix: int = 1,
        mlp_ratio: float = 4.0,
        eps: float = 1e-6,
    ) -> None:
        super().__init__(
            image_size, patch, encoder_width, width, depth, heads, output, prefix, mlp_ratio, eps
        )
        self.blocks_losspred = nn.ModuleList(
            VitBlock(width, heads, mlp_ratio=mlp_ratio, eps=eps) for _ in range(depth)
        )
        self.norm_losspred = nn.LayerNorm(width, eps)
        # As wide as the other head, and averaged: that is what official weights look like.
        self.pred_losspred = nn.Linear(width, self.dim)
        for part in (self.blocks_losspred, self.pred_losspred):
            init_weights(part)

    def predict(self, tokens: Tokens, mask: Mask) -> HPMOutput:
        """Both predictions for every patch, masked or not; arguments as of `forward`, which gives the first."""
        x = self.joined(tokens, mask)
        return HPMOutput(self._through(x, self.blocks, self.norm, self.pred), self._predicted_loss(x))

    def predicted_loss(self, tokens: Tokens, mask: Mask) -> Tensor:
        """The predicted losses [B, N] alone."""
        return self._predicted_loss(self.joined(tokens, mask))

    def _predicted_loss(self, x: Tensor) -> Tensor:
        # in float32, as half precision knows too few numbers to put patches in order
        return self._through(x, self.blocks_losspred, self.norm_losspred, self.pred_losspred).float().mean(-1)

    def _through(self, x: Tensor, blocks: nn.ModuleList, norm: nn.Module, head: nn.Module) -> Tensor:
        for block in blocks:
            x = block(x)
        return head(norm(x))[:, self.prefix :]


@dataclass(frozen=True)
class MaskedVisibleMask(Mask):
    """A mask some of whose visible patches are shown as a token.

    Attributes:
        masked_visible: [B, N] boolean, apart from `masked`; None for none.
    """

    masked_visible: Tensor | None = None


class MaskedVisibleViT(VitEncoder):
    """A `VitEncoder` with a token for the veiled patches of a `MaskedVisibleMask` (HPM's second masking).

    Other masks, and none, work as in a `VitEncoder`, whose arguments these are.
    """

    def _init_weights(self) -> None:
        super()._init_weights()
        self.vis_mask_token = nn.Parameter(torch.empty(1, 1, self.dim))
        nn.init.normal_(self.vis_mask_token, std=0.02)

    def embed(self, images: Tensor, mask: Mask | None = None) -> tuple[Tensor, tuple[int, int]]:
        """Images [B, C, H, W] in [0, 1] to tokens with positions [B, P + K, D], and the full grid."""
        x, grid = super().embed(images, mask)
        if not isinstance(mask, MaskedVisibleMask) or mask.masked_visible is None:
            return x, grid
        keep = mask.keep.to(x.device)
        table = resize_position_table(self.pos_embed, self.grid, grid)[0, self.prefix :]
        replaced = mask.masked_visible.to(x.device).gather(1, keep)[..., None]
        filled = torch.where(replaced, self.vis_mask_token + table[keep], x[:, self.prefix :])
        return torch.cat([x[:, : self.prefix], filled], dim=1), grid
