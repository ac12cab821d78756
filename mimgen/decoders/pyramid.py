"""What iTPN puts on its pyramid for pretraining: a decoder of pixels, or heads for a teacher's features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mimgen.encoders.hivit import PyramidTokens
from mimgen.errors import UserError
from mimgen.layers.blocks.beit import relative_index
from mimgen.layers.blocks.hivit import UnitBlock
from mimgen.layers.blocks.vit import VitBlock, init_linears
from mimgen.layers.init import init_sincos_pos_embed
from mimgen.layers.patch_embed import patch_grid
from mimgen.layers.position import resize_position_table
from mimgen.ops.positions import gather_tokens
from mimgen.pretrained import PretrainedModule
from mimgen.types import Mask


class JoinedLevels(nn.ModuleList):
    """One vector per patch from all levels: each is normalised and mapped so that its units together have the width.

    Args:
        pyramid_width: F of the levels.
        width: D of the sum, a multiple of 4 for each level but the first.
        levels: number of levels, of 1, 4 and 16 units.
        eps: of the norms.

    Raises:
        UserError: a width that does not divide.
    """

    def __init__(self, pyramid_width: int, width: int, levels: int, eps: float) -> None:
        if width % 4 ** (levels - 1):
            raise UserError(f"decoder width {width} must be a multiple of {4 ** (levels - 1)} for {levels} levels")
        super().__init__(
            nn.Sequential(nn.LayerNorm(pyramid_width, eps), nn.Linear(pyramid_width, width // 4**level))
            for level in range(levels)
        )

    def forward(self, pyramid: Sequence[Tensor]) -> Tensor:
        """Levels [B, K, s, s, F] to their sum [B, K, D]."""
        parts = [part(level).flatten(2) for part, level in zip(self, pyramid, strict=True)]  # [B, K, D] each
        return torch.stack(parts).sum(0)


class PyramidDecoder(PretrainedModule):
    """MAE's decoder on the summed pyramid of the visible patches (iTPN, section 3); positions are fixed.

    Args:
        image_size: side in pixels, or (rows, columns), of the images that positions are made for.
        patch: side of a patch in pixels.
        pyramid_width: F of the encoder's levels.
        width: D of the decoder.
        depth: blocks.
        heads: attention heads.
        levels: of the pyramid.
        output: numbers predicted for each patch; those of its pixels by default.
        mlp_ratio: hidden width of the MLPs over D.
        qkv_bias: whether projections of queries, keys and values have a bias.
        eps: of the layer norms.
    """

    def __init__(
        self,
        image_size: int | tuple[int, int] = 224,
        patch: int = 16,
        pyramid_width: int = 256,
        width: int = 512,
        depth: int = 8,
        heads: int = 16,
        levels: int = 3,
        output: int | None = None,
        mlp_ratio: float = 4.0,
        qkv_bias: bool = True,
        eps: float = 1e-6,
    ) -> None:
        super().__init__()
        self.grid, self.dim = patch_grid(image_size, patch), output or 3 * patch * patch
        self.embed = JoinedLevels(pyramid_width, width, levels, eps)
        self.mask_token = nn.Parameter(torch.empty(1, 1, width))
        self.pos_embed = nn.Parameter(torch.empty(1, self.grid[0] * self.grid[1], width))
        self.blocks = nn.ModuleList(
            VitBlock(width, heads, mlp_ratio=mlp_ratio, qkv_bias=qkv_bias, eps=eps) for _ in range(depth)
        )
        self.norm = nn.LayerNorm(width, eps)
        self.pred = nn.Linear(width, self.dim)
        init_linears(self)
        nn.init.trunc_normal_(self.mask_token, std=0.02)
        init_sincos_pos_embed(self.pos_embed, self.grid)

    def forward(self, tokens: PyramidTokens, mask: Mask) -> Tensor:
        """Predictions [B, N, output] for every patch.

        Args:
            tokens: of the visible patches, ascending, with their pyramid.
            mask: of all N patches.

        Raises:
            UserError: tokens of other patches than the mask leaves.
        """
        if tokens.patches.shape[1] != mask.keep.shape[1]:
            raise UserError(
                f"this decoder takes the {mask.keep.shape[1]} visible patches, got {tokens.patches.shape[1]}: build "
                "the encoder with mask_token=False, which leaves masked patches out"
            )
        x = self.embed(tokens.pyramid)  # [B, K, D]
        # the sum has one mask token for each level that it is made of
        mask_tokens = len(self.embed) * self.mask_token.to(x.dtype).expand(len(x), mask.drop.shape[1], -1)
        x = gather_tokens(torch.cat([x, mask_tokens], dim=1), mask.restore.to(x.device))  # [B, N, D]
        x = x + resize_position_table(self.pos_embed, self.grid, tokens.grid)
        for block in self.blocks:
            x = block(x)
        return self.pred(self.norm(x))


@dataclass(frozen=True)
class FeaturePredictions:
    """Features that `FeatureHeads` predict for every patch.

    Attributes:
        main: [B, N, output], from the pyramid.
        auxiliary: [B, N, output], from an earlier block.
    """

    main: Tensor
    auxiliary: Tensor


class FeatureHeads(PretrainedModule):
    """A linear head on the summed pyramid, and one on an earlier block after further blocks of its own.

    Args:
        image_size: side in pixels, or (rows, columns), of the images that relative positions are made for.
        patch: side of a patch in pixels.
        pyramid_width: F of the encoder's levels.
        width: D of the encoder.
        heads: attention heads of the further blocks.
        output: numbers predicted for each patch, those of the teacher.
        levels: of the pyramid.
        depth: further blocks on the way to the auxiliary head.
        mlp_ratio: hidden width of the MLPs over D.
        qkv_bias: whether projections of queries, keys and values have a bias.
        relative: whether the further blocks have a bias for every offset.
        layer_scale: start of a learned scale on their branches; None for none.
        eps: of the layer norms.
        block_eps: of those inside the further blocks.
    """

    offsets: Tensor

    def __init__(
        self,
        image_size: int | tuple[int, int] = 224,
        patch: int = 16,
        pyramid_width: int = 256,
        width: int = 512,
        heads: int = 8,
        output: int = 512,
        levels: int = 3,
        depth: int = 2,
        mlp_ratio: float = 4.0,
        qkv_bias: bool = True,
        relative: bool = True,
        layer_scale: float | None = 0.1,
        eps: float = 1e-6,
        block_eps: float = 1e-5,
    ) -> None:
        super().__init__()
        grid = patch_grid(image_size, patch)
        self.dim, self.relative = output, relative
        self.embed = JoinedLevels(pyramid_width, width, levels, eps)
        self.norm, self.head = nn.LayerNorm(width, eps), nn.Linear(width, output)
        self.blocks = nn.ModuleList(
            UnitBlock(width, heads, mlp_ratio=mlp_ratio, qkv_bias=qkv_bias, layer_scale=layer_scale,
                      grid=grid if relative else None, eps=block_eps)
            for _ in range(depth)
        )  # fmt: skip
        self.early_norm, self.early_head = nn.LayerNorm(width, eps), nn.Linear(width, output)
        self.register_buffer("offsets", relative_index(*grid)[1:, 1:], persistent=False)  # no class token
        init_linears(self)

    def forward(self, tokens: PyramidTokens) -> FeaturePredictions:
        """Predictions from all patches with their pyramid, and the earlier block as the first of `levels`."""
        main = self.head(self.norm(self.embed(tokens.pyramid)))
        return FeaturePredictions(main, self.early_head(self.early_norm(self.early(tokens.levels[0]))))

    def early(self, x: Tensor) -> Tensor:
        """The earlier block's patches [B, N, D] through the further blocks."""
        offsets = self.offsets[None] if self.relative else None
        for block in self.blocks:
            x = block(x, offsets)
        return x
