"""The networks of CAE: an encoder of visible patches, a regressor of masked ones, a decoder of those alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mimgen.encoders.beit import BeitEncoder
from mimgen.encoders.vit import IMAGENET_MEAN, IMAGENET_STD
from mimgen.errors import UserError
from mimgen.layers.blocks.beit import BeitBlock
from mimgen.layers.blocks.vit import DropPath
from mimgen.layers.init import init_weights
from mimgen.layers.masks import check_mask
from mimgen.layers.position import sincos_2d
from mimgen.methods.cae.regressor import RegressorBlock
from mimgen.ops.positions import gather_tokens
from mimgen.pretrained import PretrainedModule
from mimgen.types import Mask, Tokens


def rows_first(width: int, grid: tuple[int, int]) -> Tensor:
    """The fixed 2-D sine-cosine table [N, width] with the row in the first half of the channels; MAE's has it last."""
    columns, rows = sincos_2d(width, *grid).chunk(2, dim=1)
    return torch.cat([rows, columns], dim=1)


class CaeEncoder(BeitEncoder):
    """A `BeitEncoder` from which masked patches are left out, with fixed positions (CAE, section 3.1).

    Args:
        pixels: side, or (rows, columns), of the images that the position table is made for.
        patch: side of a patch.
        width: D.
        depth: number of blocks.
        heads: attention heads.
        mlp_ratio: hidden width of the MLPs over D.
        layer_scale: start of the layer scale; None or 0 for none.
        qkv_bias: biases on q and v.
        drop_path: rate of the last block, rising linearly from 0.
        mean: of each channel, taken off images in [0, 1].
        std: by which they are then divided.
        eps: of the layer norms.
    """

    def __init__(
        self,
        pixels: int | tuple[int, int] = 224,
        patch: int = 16,
        width: int = 768,
        depth: int = 12,
        heads: int = 12,
        mlp_ratio: float = 4.0,
        layer_scale: float | None = 0.1,
        qkv_bias: bool = True,
        drop_path: float = 0.0,
        mean: tuple[float, ...] = IMAGENET_MEAN,
        std: tuple[float, ...] = IMAGENET_STD,
        eps: float = 1e-6,
    ) -> None:
        height, across = (pixels, pixels) if isinstance(pixels, int) else pixels
        if across % patch:
            raise UserError(f"images of {across} pixels do not divide into patches of {patch}: change one of them")
        super().__init__(
            height, patch, width, depth, heads, mlp_ratio, layer_scale,
            qkv_bias=qkv_bias, channels=len(mean), mean=mean, std=std, eps=eps,
        )  # fmt: skip
        for block, rate in zip(self.blocks, torch.linspace(0, drop_path, depth).tolist(), strict=True):
            block.drop_path = DropPath(rate)
        init_weights(self)
        self.grid = (height // patch, across // patch)
        table = torch.cat([torch.zeros(1, width), rows_first(width, self.grid)])
        self.pos_embed = nn.Parameter(table[None], requires_grad=False)

    def _embedded(self, maps: Tensor, masked: Tensor | None, mix: Tensor | None = None) -> Tensor:
        x = super()._embedded(maps, None, mix)
        if masked is None:
            return x
        check_mask(masked, len(x), x.shape[1] - 1)
        return torch.cat([x[:, :1], gather_tokens(x[:, 1:], Mask(masked).keep)], dim=1)  # [B, 1 + K, D]


@dataclass(frozen=True)
class Regressed:
    """What `CaeDecoder` makes of the visible patches.

    Attributes:
        latents: [B, M, E] representations of the masked patches, ascending.
        predicted: [B, M, output] of the target.
    """

    latents: Tensor
    predicted: Tensor


class CaeDecoder(PretrainedModule):
    """CAE's regressor, from visible to masked latents, and decoder, from these to the target (CAE, section 3.1).

    The latents of visible patches stay as they are in the regressor, and the decoder does not see them.

    Args:
        output: numbers predicted for a patch, such as the number of codes.
        encoder_width: D of the encoder.
        width: E of regressor and decoder; other latents than of this width pass a linear map and a norm.
        regressor_depth: blocks of the regressor.
        decoder_depth: blocks of the decoder.
        heads: attention heads of both.
        mlp_ratio: hidden width of the MLPs over E.
        layer_scale: start of the layer scale; None or 0 for none.
        qkv_bias: biases on q and v.
        eps: of the layer norms.
    """

    def __init__(
        self,
        output: int = 8192,
        encoder_width: int = 768,
        width: int = 768,
        regressor_depth: int = 4,
        decoder_depth: int = 4,
        heads: int = 12,
        mlp_ratio: float = 4.0,
        layer_scale: float | None = 0.1,
        qkv_bias: bool = True,
        eps: float = 1e-6,
    ) -> None:
        super().__init__()
        self.dim, self.width = output, width
        self.narrow = encoder_width != width
        if self.narrow:
            self.encoder_to_decoder = nn.Linear(encoder_width, width)
            self.encoder_to_decoder_norm = nn.LayerNorm(width, eps)
        self.mask_token = nn.Parameter(torch.empty(1, 1, width))
        options: dict[str, Any] = {
            "mlp_ratio": mlp_ratio, "layer_scale": layer_scale, "qkv_bias": qkv_bias, "eps": eps,
        }  # fmt: skip
        self.regressor_blocks = nn.ModuleList(
            RegressorBlock(width, heads, **options) for _ in range(regressor_depth)
        )
        self.decoder_blocks = nn.ModuleList(BeitBlock(width, heads, **options) for _ in range(decoder_depth))
        self.norm, self.norm2 = nn.LayerNorm(width, eps), nn.LayerNorm(width, eps)
        self.head = nn.Linear(width, output)
        init_weights(self)
        nn.init.trunc_normal_(self.mask_token, std=0.02)

    def forward(self, tokens: Tokens, mask: Mask) -> Regressed:
        """Latents and predictions of the masked patches.

        Args:
            tokens: of the visible patches, as the encoder gives them for `mask`.
            mask: of all N patches; every row masks the same number.
        """
        latents = self.regress(tokens, mask)
        return Regressed(latents, self.decode(latents, tokens.grid, mask))

    def translate(self, latents: Tensor) -> Tensor:
        """Latents of the encoder [B, K, D] as this network has them [B, K, E]."""
        return self.encoder_to_decoder_norm(self.encoder_to_decoder(latents)) if self.narrow else latents

    def regress(self, tokens: Tokens, mask: Mask) -> Tensor:
        """Latents of the masked patches [B, M, E] from those of the visible ones."""
        memory = self.translate(tokens.patches)
        visible_positions, masked_positions = (
            self._positions(tokens.grid, memory, mask, masked) for masked in (False, True)
        )
        x = self.mask_token.to(memory.dtype).expand(len(memory), masked_positions.shape[1], -1)
        for block in self.regressor_blocks:
            x = block(x, memory, masked_positions, visible_positions)
        return self.norm(x)

    def decode(self, latents: Tensor, grid: tuple[int, int], mask: Mask) -> Tensor:
        """Predictions [B, M, output] from latents [B, M, E] of the masked patches, whoever made them."""
        x = latents + self._positions(grid, latents, mask, masked=True)
        for block in self.decoder_blocks:
            x = block(x)
        return self.head(self.norm2(x))

    def _positions(self, grid: tuple[int, int], like: Tensor, mask: Mask, masked: bool) -> Tensor:
        """Positions of the masked or of the visible patches, [B, M or K, E]."""
        chosen = mask.drop if masked else mask.keep
        return rows_first(self.width, grid).to(like)[chosen.to(like.device)]
