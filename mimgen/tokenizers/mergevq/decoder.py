"""MergeVQ's decoder: attention blocks with convolutions, then the up-sampling of Open-MAGVIT2.

Module names are those of the official state dict.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from mimgen.layers.blocks.vit import DropPath, LayerScale, SelfAttention
from mimgen.tokenizers.magvit2.layers import level_blocks, up_levels
from mimgen.tokenizers.mergevq.encoder import LAYER_NORM_EPS, LAYER_SCALE, falling_rates
from mimgen.tokenizers.residual import group_norm


def depthwise(channels: int) -> nn.Conv2d:
    """A 3x3 convolution of each channel on its own."""
    return nn.Conv2d(channels, channels, 3, padding=1, groups=channels)


def on_grid(layer: nn.Module, x: Tensor, grid: tuple[int, int]) -> Tensor:
    """Apply a convolution to tokens [B, h w, C] laid out on a grid."""
    return layer(x.transpose(1, 2).unflatten(2, grid)).flatten(2).transpose(1, 2)  # [B, h w, C]


class MixMlp(nn.Module):
    """Linear, 3x3 depth-wise convolution over the grid, GELU, linear. [B, h w, D] -> [B, h w, D]."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, hidden), nn.Linear(hidden, width)
        self.dwconv = depthwise(hidden)

    def forward(self, x: Tensor, grid: tuple[int, int]) -> Tensor:
        """[B, h w, D] -> [B, h w, D]."""
        return self.fc2(F.gelu(on_grid(self.dwconv, self.fc1(x), grid)))


class MixBlock(nn.Module):
    """A pre-norm transformer block whose MLP mixes neighbours. [B, h w, D] -> [B, h w, D]."""

    def __init__(self, width: int, heads: int, drop_path: float) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width, LAYER_NORM_EPS), nn.LayerNorm(width, LAYER_NORM_EPS)
        self.attn = SelfAttention(width, heads)
        self.mlp = MixMlp(width, 4 * width)
        self.ls1, self.ls2 = LayerScale(width, LAYER_SCALE), LayerScale(width, LAYER_SCALE)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor, grid: tuple[int, int]) -> Tensor:
        """[B, h w, D] -> [B, h w, D]."""
        x = x + self.drop_path(self.ls1(self.attn(self.norm1(x))))
        return x + self.drop_path(self.ls2(self.mlp(self.norm2(x), grid)))


class MixBlocks(nn.Module):
    """A depth-wise convolution as position encoding, then blocks. [B, D, h, w] -> [B, D, h, w]."""

    def __init__(self, width: int, layers: int, heads: int, drop_path: float) -> None:
        super().__init__()
        self.pos_embed = depthwise(width)
        self.blocks = nn.ModuleList(MixBlock(width, heads, rate) for rate in falling_rates(drop_path, layers))

    def forward(self, x: Tensor) -> Tensor:
        """[B, D, h, w] -> [B, D, h, w]."""
        x = x + self.pos_embed(x)
        grid = (x.shape[2], x.shape[3])
        tokens = x.flatten(2).transpose(1, 2)  # [B, h w, D]
        for block in self.blocks:
            tokens = block(tokens, grid)
        return tokens.transpose(1, 2).unflatten(2, grid)  # [B, D, h, w]


class MergingDecoder(nn.Module):
    """Codes on the full grid [B, latent, h, w] to images [B, 3, H, W], nominally in [-1, 1].

    Args:
        channels: width of the finest level.
        multipliers: width of each level in units of `channels`, finest first.
        blocks: residual blocks of each level.
        latent: channels of the codes.
        layers: attention blocks.
        heads: attention heads.
        drop_path: of the first attention block, falling to 0.
        image_channels: channels of the images.
    """

    def __init__(
        self,
        channels: int,
        multipliers: Sequence[int],
        blocks: int | Sequence[int],
        latent: int,
        layers: int,
        heads: int,
        *,
        drop_path: float = 0.0,
        image_channels: int = 3,
    ) -> None:
        super().__init__()
        widths = [channels * m for m in multipliers]
        self.conv_in = nn.Conv2d(latent, widths[-1], 3, padding=1)
        self.attn = MixBlocks(widths[-1], layers, heads, drop_path)
        self.up, self.adaptive = up_levels(widths, latent, level_blocks(blocks, len(widths)))
        self.norm_out = group_norm(widths[0])
        self.conv_out = nn.Conv2d(widths[0], image_channels, 3, padding=1)

    def forward(self, codes: Tensor) -> Tensor:
        """[B, latent, h, w] -> [B, 3, H, W]."""
        x = self.attn(self.conv_in(codes))
        for level, norm in zip(reversed(self.up), reversed(self.adaptive), strict=True):
            x = level(norm(x, codes))
        return self.conv_out(F.silu(self.norm_out(x)))
