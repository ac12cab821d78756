"""The parts of HiViT: patches as small grids of units, which merge before attention starts (arXiv 2205.14949).

A patch is a grid of s x s units (s = 4, then 2, then 1) that never mix with those of other patches before the
attention, so that masked patches can be left out at all scales at once. Units lie as [B, K, s, s, D]; parameter
names are those of iTPN's release (arXiv 2211.12735).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mimgen.errors import UserError
from mimgen.layers.attention import attend, check_heads
from mimgen.layers.blocks.vit import DropPath, Mlp
from mimgen.layers.patch_embed import image_grid

SIDE = 4  # units of a patch along a side


class UnitEmbed(nn.Module):
    """Images to units: a convolution over a quarter of the patch's side, then a norm.

    Args:
        patch: side of a patch in pixels, a multiple of 4.
        width: D of a unit.
        channels: C of the images.
        eps: of the norm.

    Raises:
        UserError: a patch that is no multiple of 4.
    """

    def __init__(self, patch: int, width: int, channels: int = 3, eps: float = 1e-6) -> None:
        super().__init__()
        if patch % SIDE:
            raise UserError(f"a patch of {patch} pixels has no {SIDE} x {SIDE} units: choose a multiple of {SIDE}")
        self.patch, unit = patch, patch // SIDE
        self.proj = nn.Conv2d(channels, width, unit, unit)
        self.norm = nn.LayerNorm(width, eps)

    def grid(self, images: Tensor) -> tuple[int, int]:
        """Rows and columns of patches of images [B, C, H, W].

        Raises:
            UserError: another number of channels, or sides that are no multiples of the patch.
        """
        return image_grid(images, self.patch, self.proj.in_channels)

    def forward(self, images: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """[B, C, H, W] to units [B, N, 4, 4, D], patches row-major, and the grid of patches, checked as by `grid`."""
        grid = self.grid(images)
        units = self.proj(images).unflatten(3, (-1, SIDE)).unflatten(2, (-1, SIDE))
        # [B, D, h, 4, w, 4] -> [B, h w, 4, 4, D]
        return self.norm(units.permute(0, 2, 4, 3, 5, 1).flatten(1, 2)), grid


class UnitMerge(nn.Module):
    """Each 2 x 2 units of a patch to one of twice the width, in the order (0,0), (1,0), (0,1), (1,1)."""

    def __init__(self, width: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4 * width, eps)
        self.reduction = nn.Linear(4 * width, 2 * width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """[B, K, s, s, D] -> [B, K, s / 2, s / 2, 2 D]."""
        rows, columns = (0, 1, 0, 1), (0, 0, 1, 1)  # column by column: the order that released weights have
        four = [x[:, :, row::2, column::2] for row, column in zip(rows, columns, strict=True)]
        return self.reduction(self.norm(torch.cat(four, dim=-1)))


class UnitSplit(nn.Module):
    """Each unit to 2 x 2 of another width, row-major: the way back of `UnitMerge`."""

    def __init__(self, width: int, output: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, eps)
        self.reduction = nn.Linear(width, 4 * output, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """[B, K, s, s, D] -> [B, K, 2 s, 2 s, output]."""
        four = self.reduction(self.norm(x)).unflatten(-1, (2, 2, -1))  # [B, K, s, s, 2, 2, output]
        return four.transpose(3, 4).flatten(4, 5).flatten(2, 3)


class RelativeAttention(nn.Module):
    """Multi-head self-attention, with a learned bias for every offset where `grid` is given.

    Args:
        width: D, a multiple of `heads`.
        heads: attention heads H.
        qkv_bias: whether the joint projection has a bias.
        grid: rows and columns that the offsets are made for; None for no bias.
    """

    def __init__(self, width: int, heads: int, qkv_bias: bool = True, grid: tuple[int, int] | None = None) -> None:
        super().__init__()
        check_heads(width, heads)
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=qkv_bias)
        self.proj = nn.Linear(width, width)
        self.relative_position_bias_table: nn.Parameter | None = None
        if grid is not None:
            offsets = (2 * grid[0] - 1) * (2 * grid[1] - 1)
            self.relative_position_bias_table = nn.Parameter(torch.empty(offsets, heads))
            nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)

    def forward(self, x: Tensor, offsets: Tensor | None = None) -> Tensor:
        """[B, T, D] -> [B, T, D]; `offsets` [1 or B, T, T] are rows of the bias table."""
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).unbind(2)  # [B, T, H, d]
        table, bias = self.relative_position_bias_table, None
        if table is not None and offsets is not None:
            bias = table[offsets].permute(0, 3, 1, 2)  # [1 or B, H, T, T]
        return self.proj(attend(q, k, v, bias=bias).flatten(2))


class UnitBlock(nn.Module):
    """Pre-norm attention (or none, where `heads` is 0) and MLP, each with residual.

    Args:
        width: D.
        heads: attention heads; 0 for a block of an MLP alone, which works on units of any shape.
        mlp_ratio: hidden width of the MLP over D.
        qkv_bias: whether the projection of queries, keys and values has a bias.
        layer_scale: start of a learned scale on each branch; None for none.
        drop_path: probability of skipping a branch while training.
        grid: rows and columns for a relative position bias; None for none.
        eps: of the layer norms.
    """

    def __init__(
        self,
        width: int,
        heads: int = 0,
        *,
        mlp_ratio: float = 4.0,
        qkv_bias: bool = True,
        layer_scale: float | None = None,
        drop_path: float = 0.0,
        grid: tuple[int, int] | None = None,
        eps: float = 1e-6,
    ) -> None:
        super().__init__()
        self.gamma_1: nn.Parameter | None = None
        if heads:
            self.norm1 = nn.LayerNorm(width, eps)
            self.attn = RelativeAttention(width, heads, qkv_bias, grid)
            self.gamma_1 = _gamma(width, layer_scale)
        self.mixes = bool(heads)
        self.norm2 = nn.LayerNorm(width, eps)
        self.mlp = Mlp(width, int(width * mlp_ratio))
        self.gamma_2 = _gamma(width, layer_scale)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor, offsets: Tensor | None = None) -> Tensor:
        """[B, T, D], or units [B, K, s, s, D] without attention, to the same shape."""
        if self.mixes:
            x = x + self.drop_path(_scaled(self.attn(self.norm1(x), offsets), self.gamma_1))
        return x + self.drop_path(_scaled(self.mlp(self.norm2(x)), self.gamma_2))


def _gamma(width: int, initial: float | None) -> nn.Parameter | None:
    return nn.Parameter(torch.full((width,), initial)) if initial else None


def _scaled(x: Tensor, gamma: Tensor | None) -> Tensor:
    return x if gamma is None else gamma * x
