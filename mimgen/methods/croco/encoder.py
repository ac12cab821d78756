"""CroCo's encoder: one ViT for both views, without class token, with fixed or with rotary positions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from mimgen.encoders.contract import block_numbers
from mimgen.encoders.vit import IMAGENET_MEAN, IMAGENET_STD
from mimgen.errors import UserError
from mimgen.layers.attention import attention_maps
from mimgen.layers.init import init_weights
from mimgen.layers.masks import check_mask
from mimgen.layers.patch_embed import PatchEmbed, patch_grid
from mimgen.layers.position import resize_position_table, sincos_2d
from mimgen.layers.rotary_grid import RotaryBlock, Rotation, grid_positions, grid_rotation
from mimgen.ops.positions import gather_tokens
from mimgen.pretrained import PretrainedModule
from mimgen.types import Mask, Tokens

Positions = Literal["fixed", "rotary"]


class CrossViewVit(PretrainedModule):
    """ViT of CroCo (arXiv 2210.10716, section 3.1): images with masked patches, or whole ones.

    Args:
        image_size: side in pixels, or (rows, columns), of the images that fixed positions are made for; those
            of other sizes are interpolated.
        patch: side of a patch in pixels.
        width: D.
        depth: number of blocks.
        heads: attention heads H.
        mlp_ratio: hidden width of the MLP over D.
        positions: "fixed" adds sines and cosines (CroCo); "rotary" turns queries and keys (CroCo v2).
        base: of rotary positions.
        eps: of the layer norms.
        channels: C of the images.
        mean: of the images' channels, subtracted first.
        std: of the images' channels, divided by.

    Raises:
        UserError: unknown positions, or a size that does not divide into patches.
    """

    mean: Tensor
    std: Tensor
    table: Tensor

    def __init__(
        self,
        image_size: int | tuple[int, int] = 224,
        patch: int = 16,
        width: int = 768,
        depth: int = 12,
        heads: int = 12,
        mlp_ratio: float = 4.0,
        positions: Positions = "fixed",
        base: float = 100.0,
        eps: float = 1e-6,
        channels: int = 3,
        mean: tuple[float, ...] = IMAGENET_MEAN,
        std: tuple[float, ...] = IMAGENET_STD,
    ) -> None:
        super().__init__()
        self.grid = checked_grid(image_size, patch, positions)
        self.dim, self.depth, self.patch, self.heads = width, depth, patch, heads
        self.positions, self.base = positions, base
        self.patch_embed = PatchEmbed(patch, width, channels)
        self.blocks = nn.ModuleList(RotaryBlock(width, heads, mlp_ratio=mlp_ratio, eps=eps) for _ in range(depth))
        self.norm = nn.LayerNorm(width, eps)
        if positions == "fixed":
            # a formula, so it is in no checkpoint
            self.register_buffer("table", sincos_2d(width, *self.grid)[None], persistent=False)
        self.register_buffer("mean", torch.tensor(mean)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(std)[:, None, None], persistent=False)
        init_weights(self)

    def embed(self, images: Tensor, mask: Mask | None = None) -> tuple[Tensor, Rotation | None, tuple[int, int]]:
        """Images [B, C, H, W] in [0, 1] to tokens [B, K, D], their rotation if there is one, and the full grid."""
        grid = self.patch_embed.grid(images)
        images = (images.to(self.mean.dtype) - self.mean) / self.std
        keep = None
        if mask is not None:
            check_mask(mask.masked, len(images), grid[0] * grid[1])
            keep = mask.keep.to(images.device)
        x = self.patch_embed(images, keep)
        if self.positions == "fixed":
            return x + _of(resize_position_table(self.table, self.grid, grid), keep), None, grid
        positions = _of(grid_positions(grid, x.device)[None], keep)
        return x, grid_rotation(positions.expand(len(x), -1, -1), self.dim // self.heads, self.base), grid

    def forward(
        self, images: Tensor, mask: Mask | None = None, *, layers: Sequence[int] = (), attention: Sequence[int] = ()
    ) -> Tokens:
        """Images to tokens without prefix.

        Args:
            images: [B, C, H, W] in [0, 1], sides multiples of `patch`.
            mask: masked patches are left out.
            layers: blocks whose tokens are returned as `levels`, before the last norm; negative from the end.
            attention: blocks whose attention maps [B, H, T, T] are returned.

        Raises:
            UserError: images that do not divide into patches, or a layer that does not exist.
        """
        wanted, mapped = block_numbers(layers, self.depth), block_numbers(attention, self.depth)
        x, rotation, grid = self.embed(images, mask)
        levels, maps = [], {}
        for layer, block in enumerate(self.blocks):
            if layer in mapped:
                with attention_maps() as found:
                    x = block(x, rotation)
                maps[layer] = found[0]
            else:
                x = block(x, rotation)
            levels.append(x)
        return Tokens(
            patches=self.norm(x),
            grid=grid,
            prefix=x[:, :0],
            levels=tuple(levels[layer] for layer in wanted),
            attention=tuple(maps[layer] for layer in mapped),
        )


def checked_grid(image_size: int | tuple[int, int], patch: int, positions: str) -> tuple[int, int]:
    """Rows and columns of patches; a UserError where there are none, or for unknown positions."""
    if positions not in ("fixed", "rotary"):
        raise UserError(f'positions {positions!r} are unknown: choose "fixed" or "rotary"')
    return patch_grid(image_size, patch)


def _of(table: Tensor, keep: Tensor | None) -> Tensor:
    """Rows of a table [1, N, D] at the positions `keep` [B, K], all of them without."""
    return table if keep is None else gather_tokens(table.expand(len(keep), -1, -1), keep)
