"""Transformer blocks made of convolutions, and what goes with them on maps [B, D, h, w] (ConvMAE)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

KERNEL = 5  # side of the depthwise convolution (ConvMAE, section 3.1)


class MapNorm(nn.LayerNorm):
    """Layer norm over the channels of a map [B, C, h, w]."""

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, h, w] -> [B, C, h, w]."""
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Shrink(nn.Module):
    """A convolution whose stride is its kernel, layer norm, GELU. [B, C, h, w] -> [B, D, h / side, w / side]."""

    def __init__(self, channels: int, width: int, side: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.proj = nn.Conv2d(channels, width, side, side)
        self.norm = MapNorm(width, eps)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, h, w] -> [B, D, h / side, w / side]."""
        return F.gelu(self.norm(self.proj(x)))


class MapMlp(nn.Module):
    """`Mlp` at every place of a map, as 1 x 1 convolutions. [B, D, h, w] -> [B, D, h, w]."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Conv2d(width, hidden, 1), nn.Conv2d(hidden, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """[B, D, h, w] -> [B, D, h, w]."""
        return self.fc2(F.gelu(self.fc1(x)))


class ConvBlock(nn.Module):
    """A transformer block with a depthwise convolution in the place of the attention (ConvMAE, section 3.1).

    Args:
        width: D.
        mlp_ratio: hidden width of the MLP over D.
        eps: of the layer norms.
    """

    def __init__(self, width: int, mlp_ratio: float = 4.0, eps: float = 1e-5) -> None:
        super().__init__()
        self.norm1, self.norm2 = MapNorm(width, eps), MapNorm(width, eps)
        self.conv1, self.conv2 = nn.Conv2d(width, width, 1), nn.Conv2d(width, width, 1)
        self.attn = nn.Conv2d(width, width, KERNEL, padding=KERNEL // 2, groups=width)
        self.mlp = MapMlp(width, int(mlp_ratio * width))

    def forward(self, x: Tensor, visible: Tensor | None = None) -> Tensor:
        """[B, D, h, w] -> [B, D, h, w].

        Args:
            x: the map.
            visible: [B, 1, h, w], 1 where a position is visible to its neighbours, else 0.
        """
        branch = self.conv1(self.norm1(x))
        # zero at masked positions, or the convolution would carry their content to visible ones (masked convolution)
        branch = branch if visible is None else branch * visible
        x = x + self.conv2(self.attn(branch))
        return x + self.mlp(self.norm2(x))
