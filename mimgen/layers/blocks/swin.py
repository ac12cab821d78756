"""Window attention with relative position bias, and the block and the downsampling of Swin (arXiv 2103.14030)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mimgen.layers.attention import attend, check_heads
from mimgen.layers.blocks.vit import DropPath, Mlp

# Added to the attention between positions that the shift put side by side but that are not neighbours.
_APART = -100.0


class WindowAttention(nn.Module):
    """Multi-head self-attention within windows, with a learned bias for every offset (Swin, equation 4).

    Args:
        width: D, a multiple of `heads`.
        window: side of a window in tokens.
        heads: attention heads H.
        qkv_bias: whether the joint projection has a bias.
    """

    relative_position_index: Tensor

    def __init__(self, width: int, window: int, heads: int, qkv_bias: bool = True) -> None:
        super().__init__()
        check_heads(width, heads)
        self.window, self.heads = window, heads
        self.relative_position_bias_table = nn.Parameter(torch.empty((2 * window - 1) ** 2, heads))
        nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)
        self.register_buffer("relative_position_index", relative_index(window), persistent=False)
        self.qkv = nn.Linear(width, 3 * width, bias=qkv_bias)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor, apart: Tensor | None = None) -> Tensor:
        """Windows [B, n, T, D] of T = window^2 tokens to the same shape.

        Args:
            x: n windows of each image.
            apart: [n, T, T] boolean, true where two tokens must not see each other.
        """
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).flatten(0, 1).unbind(2)  # [B n, T, H, d]
        bias = self.relative_position_bias_table[self.relative_position_index].permute(2, 0, 1)[None]  # [1, H, T, T]
        if apart is not None:
            bias = (bias + _APART * apart[:, None]).repeat(len(x), 1, 1, 1)  # [B n, H, T, T]
        return self.proj(attend(q, k, v, bias=bias).flatten(2)).unflatten(0, x.shape[:2])


class SwinBlock(nn.Module):
    """Pre-norm window attention and MLP, each with residual.

    Args:
        width: D.
        heads: attention heads.
        window: side of a window in tokens.
        shift: whether windows are shifted by half a side, as in every second block.
        mlp_ratio: hidden width of the MLP over D.
        qkv_bias: whether the joint projection has a bias.
        drop_path: probability of skipping a branch while training.
        eps: of the layer norms.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        window: int,
        shift: bool,
        *,
        mlp_ratio: float = 4.0,
        qkv_bias: bool = True,
        drop_path: float = 0.0,
        eps: float = 1e-5,
    ) -> None:
        super().__init__()
        self.window, self.shift = window, window // 2 if shift else 0
        self.norm1 = nn.LayerNorm(width, eps)
        self.attn = WindowAttention(width, window, heads, qkv_bias)
        self.norm2 = nn.LayerNorm(width, eps)
        self.mlp = Mlp(width, int(mlp_ratio * width))
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        """[B, h, w, D] -> [B, h, w, D]; grids that do not divide into windows are padded with zeros for the while."""
        x = x + self.drop_path(self._mixed(self.norm1(x)))
        return x + self.drop_path(self.mlp(self.norm2(x)))

    def _mixed(self, x: Tensor) -> Tensor:
        h, w = x.shape[1:3]
        side = self.window
        # a grid of one window has nothing to shift into
        shift = self.shift if min(h, w) > side else 0
        x = F.pad(x, (0, 0, 0, -w % side, 0, -h % side))
        padded = (x.shape[1], x.shape[2])
        if shift:
            x = x.roll((-shift, -shift), (1, 2))
        apart = shifted_apart(padded, side, shift).to(x.device) if shift else None
        x = from_windows(self.attn(windows(x, side), apart), padded, side)
        if shift:
            x = x.roll((shift, shift), (1, 2))
        return x[:, :h, :w]


class PatchMerging(nn.Module):
    """Each 2 x 2 tokens to one of twice the width: norm, then a linear map.

    The four tokens are interleaved, (channel, row, column), as in MMPretrain; the first release puts them one
    after the other, which is the same up to the order of the parameters.

    Args:
        width: D.
        eps: of the norm.
    """

    def __init__(self, width: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4 * width, eps)
        self.reduction = nn.Linear(4 * width, 2 * width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """[B, h, w, D] -> [B, ceil(h / 2), ceil(w / 2), 2 D]; odd sides are padded with zeros."""
        x = F.pad(x, (0, 0, 0, x.shape[2] % 2, 0, x.shape[1] % 2))
        joined = F.pixel_unshuffle(x.permute(0, 3, 1, 2), 2).permute(0, 2, 3, 1)  # [B, h / 2, w / 2, 4 D]
        return self.reduction(self.norm(joined))


def relative_index(window: int) -> Tensor:
    """[T, T] int64: for two tokens of a window the row of the bias table that belongs to their offset."""
    positions = torch.cartesian_prod(torch.arange(window), torch.arange(window))
    offset = positions[:, None] - positions[None] + window - 1
    return offset[..., 0] * (2 * window - 1) + offset[..., 1]


def windows(x: Tensor, side: int) -> Tensor:
    """[B, h, w, D] to its windows [B, n, side^2, D], row-major; sides are multiples of `side`."""
    cut = x.unflatten(2, (-1, side)).unflatten(1, (-1, side))  # [B, h / side, side, w / side, side, D]
    return cut.transpose(2, 3).flatten(3, 4).flatten(1, 2)


def from_windows(x: Tensor, grid: tuple[int, int], side: int) -> Tensor:
    """The inverse of `windows` for a grid of rows and columns."""
    cut = x.unflatten(2, (side, side)).unflatten(1, (grid[0] // side, grid[1] // side))  # [B, h', w', side, side, D]
    return cut.transpose(2, 3).flatten(3, 4).flatten(1, 2)


def shifted_apart(grid: tuple[int, int], side: int, shift: int) -> Tensor:
    """[n, T, T] boolean: pairs in a window of a rolled grid that come from different edges of the image."""
    # three stripes per axis: ordinary windows, the last window's own part, and what was rolled in from the far edge
    regions = [(torch.arange(size) >= size - side).long() + (torch.arange(size) >= size - shift) for size in grid]
    region = 3 * regions[0][:, None] + regions[1][None]
    cut = windows(region[None, ..., None], side)[0, ..., 0]
    return cut[:, :, None] != cut[:, None]
