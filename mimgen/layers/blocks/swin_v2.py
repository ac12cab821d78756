"""Cosine attention in windows with a continuous position bias, and the block of Swin v2 (arXiv 2111.09883)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mimgen.layers.attention import attend, check_heads
from mimgen.layers.blocks.swin import from_windows, relative_index, shifted_apart, windows
from mimgen.layers.blocks.vit import DropPath, Mlp

# Added to the attention between positions that the shift put side by side but that are not neighbours.
_APART = -100.0
_HIDDEN = 512  # width inside the network that predicts the bias of an offset
_LARGEST = math.log(100.0)  # logit scale, as a logarithm
_BIAS = 16.0  # largest bias


class CosineWindowAttention(nn.Module):
    """Multi-head self-attention within windows: cosine times a learned scale, plus a bias (Swin v2, section 3.2).

    A small network predicts the bias of an offset from its logarithm (equation 3), so windows of other sizes need
    no new table.

    Args:
        width: D, a multiple of `heads`.
        window: side of a window in tokens.
        heads: attention heads H.
        qkv_bias: whether queries and values have a bias; keys have none.
        pretrained_window: side that offsets are measured by; 0 for `window`.
    """

    offsets: Tensor
    offset_index: Tensor

    def __init__(
        self, width: int, window: int, heads: int, qkv_bias: bool = True, pretrained_window: int = 0
    ) -> None:
        super().__init__()
        check_heads(width, heads)
        self.heads = heads
        self.logit_scale = nn.Parameter(torch.full((heads, 1, 1), math.log(10.0)))
        self.cpb_mlp = nn.Sequential(nn.Linear(2, _HIDDEN), nn.ReLU(), nn.Linear(_HIDDEN, heads, bias=False))
        self.register_buffer("offsets", log_offsets(window, pretrained_window or window), persistent=False)
        self.register_buffer("offset_index", relative_index(window), persistent=False)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.q_bias = nn.Parameter(torch.zeros(width)) if qkv_bias else None
        self.v_bias = nn.Parameter(torch.zeros(width)) if qkv_bias else None
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor, apart: Tensor | None = None) -> Tensor:
        """Windows [B, n, T, D] of T = window^2 tokens to the same shape.

        Args:
            x: n windows of each image.
            apart: [n, T, T] boolean, true where two tokens must not see each other.
        """
        q, k, v = F.linear(x, self.qkv.weight, self._bias()).unflatten(-1, (3, self.heads, -1)).flatten(0, 1).unbind(2)
        scale = self.logit_scale.clamp(max=_LARGEST).exp().view(1, 1, -1, 1)
        # in float32: in bf16 a cosine times up to 100 is rounded by up to 0.25
        # `attend` divides by the square root of the width of a head, which cosines do not want
        q = F.normalize(q.float(), dim=-1) * (scale * q.shape[-1] ** 0.5)
        k = F.normalize(k.float(), dim=-1)
        bias = self.position_bias()[None]
        if apart is not None:
            bias = (bias + _APART * apart[:, None]).repeat(len(x), 1, 1, 1)  # [B n, H, T, T]
        mixed = attend(q.to(v.dtype), k.to(v.dtype), v, bias=bias)
        return self.proj(mixed.flatten(2)).unflatten(0, x.shape[:2])

    def position_bias(self) -> Tensor:
        """[H, T, T] in 0..16, the bias of query and key (Swin v2, equation 3)."""
        predicted = self.cpb_mlp(self.offsets.to(self.logit_scale.dtype))
        return _BIAS * predicted[self.offset_index].permute(2, 0, 1).float().sigmoid()

    def _bias(self) -> Tensor | None:
        if self.q_bias is None or self.v_bias is None:
            return None
        return torch.cat([self.q_bias, torch.zeros_like(self.v_bias), self.v_bias])


class SwinV2Block(nn.Module):
    """Window attention and MLP, each with a norm at its end, then residual (Swin v2, section 3.2).

    Args:
        width: D.
        heads: attention heads.
        window: side of a window in tokens.
        shift: whether windows are shifted by half a side, as in every second block.
        mlp_ratio: hidden width of the MLP over D.
        qkv_bias: whether queries and values have a bias.
        drop_path: probability of skipping a branch while training.
        eps: of the layer norms.
        extra_norm: one more norm on the sum, which the largest models need to stay stable.
        pretrained_window: side that offsets are measured by; 0 for `window`.
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
        extra_norm: bool = False,
        pretrained_window: int = 0,
    ) -> None:
        super().__init__()
        self.window, self.shift = window, window // 2 if shift else 0
        self.attn = CosineWindowAttention(width, window, heads, qkv_bias, pretrained_window)
        self.norm1 = nn.LayerNorm(width, eps)
        self.mlp = Mlp(width, int(mlp_ratio * width))
        self.norm2 = nn.LayerNorm(width, eps)
        self.norm3 = nn.LayerNorm(width, eps) if extra_norm else nn.Identity()
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        """[B, h, w, D] -> [B, h, w, D]; grids that do not divide into windows are padded with zeros for the while."""
        x = x + self.drop_path(self.norm1(self._mixed(x)))
        return self.norm3(x + self.drop_path(self.norm2(self.mlp(x))))

    def _mixed(self, x: Tensor) -> Tensor:
        h, w = x.shape[1:3]
        side = self.window
        # a grid of one window has nothing to shift into
        shift = self.shift if min(h, w) > side else 0
        x = F.pad(x, (0, 0, 0, -w % side, 0, -h % side))
        padded = (x.shape[1], x.shape[2])
        apart = None
        if shift:
            x = x.roll((-shift, -shift), (1, 2))
            apart = shifted_apart(padded, side, shift).to(x.device)
        x = from_windows(self.attn(windows(x, side), apart), padded, side)
        return x.roll((shift, shift), (1, 2))[:, :h, :w]


class PatchMergingV2(nn.Module):
    """Each 2 x 2 tokens to one of twice the width: a linear map, then the norm.

    The four tokens come one after the other, column by column, as in the first release.

    Args:
        width: D.
        eps: of the norm.
    """

    def __init__(self, width: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.reduction = nn.Linear(4 * width, 2 * width, bias=False)
        self.norm = nn.LayerNorm(2 * width, eps)

    def forward(self, x: Tensor) -> Tensor:
        """[B, h, w, D] -> [B, ceil(h / 2), ceil(w / 2), 2 D]; odd sides are padded with zeros."""
        x = F.pad(x, (0, 0, 0, x.shape[2] % 2, 0, x.shape[1] % 2))
        cut = x.unflatten(2, (-1, 2)).unflatten(1, (-1, 2))  # [B, h / 2, 2, w / 2, 2, D]
        return self.norm(self.reduction(cut.permute(0, 1, 3, 4, 2, 5).flatten(3)))


def log_offsets(window: int, measure: int) -> Tensor:
    """[(2 window - 1)^2, 2]: offsets within a window, sign(x) log2(1 + 8 |x|) / 3 for x = offset / (measure - 1)."""
    steps = torch.arange(1 - window, window, dtype=torch.float32)
    # the factor 8 and log2(8) = 3 bring the offsets of the pretrained window to about -1..1 (log2(9) / 3 = 1.06)
    table = 8 * torch.cartesian_prod(steps, steps) / max(1, measure - 1)
    return table.sign() * (table.abs() + 1).log2() / math.log2(8)
