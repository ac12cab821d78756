"""The decoder of MaskGIT's VQGAN (Chang et al., 2022), with which the first TiTok releases paint."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from mimgen.tokenizers.residual import ResidualBlock, group_norm


class Level(nn.Module):
    """Residual blocks at one resolution, then doubling where asked. [B, C, h, w] -> [B, C', h', w']."""

    def __init__(self, channels: int, out: int, blocks: int, doubles: bool) -> None:
        super().__init__()
        self.block = nn.ModuleList(
            ResidualBlock(out if i else channels, out, shortcut_of_result=True) for i in range(blocks)
        )
        if doubles:
            self.upsample_conv = nn.Conv2d(out, out, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, h, w] -> [B, C', h', w']."""
        for block in self.block:
            x = block(x)
        if not hasattr(self, "upsample_conv"):
            return x
        return self.upsample_conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))


class PixelDecoder(nn.Module):
    """Codes of a VQGAN [B, z, h, w] to images [B, 3, H, W], nominally in [0, 1].

    Args:
        channels: width of the finest level, a multiple of 32.
        multipliers: width of each level in units of `channels`, finest first.
        blocks: residual blocks of a level and of the middle, at least 1.
        z: width of a code.
    """

    def __init__(self, channels: int, multipliers: tuple[int, ...], blocks: int, z: int) -> None:
        super().__init__()
        widths = [channels * multiplier for multiplier in multipliers]
        self.conv_in = nn.Conv2d(z, widths[-1], 3, padding=1)
        # no attention in the middle, unlike VQGAN: MaskGIT left it out
        self.mid = nn.ModuleList(ResidualBlock(widths[-1], widths[-1]) for _ in range(blocks))
        # stored finest first, run coarsest first
        above = [*widths[1:], widths[-1]]
        self.up = nn.ModuleList(
            Level(above[i], widths[i], blocks, doubles=i > 0) for i in range(len(multipliers))
        )
        self.norm_out = group_norm(widths[0])
        self.conv_out = nn.Conv2d(widths[0], 3, 3, padding=1)

    def forward(self, latents: Tensor) -> Tensor:
        """[B, z, h, w] -> [B, 3, H, W]."""
        x = self.conv_in(latents)
        for block in self.mid:
            x = block(x)
        for level in reversed(self.up):
            x = level(x)
        return self.conv_out(F.silu(self.norm_out(x)))
