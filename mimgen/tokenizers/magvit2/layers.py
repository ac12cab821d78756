"""Layers of Open-MAGVIT2 (arXiv 2409.04410), which MergeVQ's convolutional halves share.

Module names are those of the official state dict.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from mimgen.errors import UserError
from mimgen.tokenizers.residual import EPS, ResidualBlock


def level_blocks(blocks: int | Sequence[int], levels: int) -> tuple[int, ...]:
    """Residual blocks of each level, finest first.

    Raises:
        UserError: a list of another length than `levels`, or a negative number.
    """
    counts = (blocks,) * levels if isinstance(blocks, int) else tuple(blocks)
    if len(counts) != levels or min(counts) < 0:
        raise UserError(
            f"blocks {blocks} does not fit {levels} levels: give one number, or one of each level of `multipliers`"
        )
    return counts


def residual_blocks(inputs: int, outputs: int, count: int) -> nn.ModuleList:
    """`count` blocks, the first of which changes the width.

    Raises:
        UserError: no block to change the width.
    """
    if not count and inputs != outputs:
        raise UserError(
            f"a level without residual blocks cannot go from {inputs} to {outputs} channels: "
            "give it a block, or its neighbour's multiplier"
        )
    return nn.ModuleList(ResidualBlock(outputs if i else inputs, outputs) for i in range(count))


class DownLevel(nn.Module):
    """Residual blocks and, unless `last`, a stride-2 convolution that halves the grid."""

    def __init__(self, inputs: int, outputs: int, count: int, last: bool) -> None:
        super().__init__()
        self.block = residual_blocks(inputs, outputs, count)
        if not last:
            self.downsample = nn.Conv2d(outputs, outputs, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, h, w] -> [B, C', h / 2, w / 2]."""
        for block in self.block:
            x = block(x)
        return self.downsample(x) if hasattr(self, "downsample") else x


class Upsample(nn.Module):
    """A convolution to four times the channels, then depth to space. [B, C, h, w] -> [B, C, 2h, 2w]."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 4 * channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, h, w] -> [B, C, 2h, 2w]."""
        blocks = self.conv1(x).unflatten(1, (4, -1))  # [B, 4, C, h, w]
        # The place inside a 2x2 block is the slowest channel index here and the fastest in pixel_shuffle.
        return F.pixel_shuffle(blocks.transpose(1, 2).flatten(1, 2), 2)


class UpLevel(nn.Module):
    """Residual blocks and, unless `last`, an upsampling by two."""

    def __init__(self, inputs: int, outputs: int, count: int, last: bool) -> None:
        super().__init__()
        self.block = residual_blocks(inputs, outputs, count)
        if not last:
            self.upsample = Upsample(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, h, w] -> [B, C', 2h, 2w]."""
        for block in self.block:
            x = block(x)
        return self.upsample(x) if hasattr(self, "upsample") else x


class AdaptiveGroupNorm(nn.Module):
    """Group norm whose scale and shift come from the code map (AdaGN).

    The scale is a linear map of each code channel's standard deviation over the image, the shift one
    of its mean.

    Args:
        style: channels of the code map.
        channels: channels C of the features.
    """

    def __init__(self, style: int, channels: int) -> None:
        super().__init__()
        self.groups = math.gcd(32, channels)
        self.gamma = nn.Linear(style, channels)
        self.beta = nn.Linear(style, channels)

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        """Features [B, C, h, w] and code map [B, S, h', w'] -> [B, C, h, w]."""
        rows = style.flatten(2)  # [B, S, h' w']
        # A single position has no unbiased variance.
        std = (rows.var(-1, unbiased=rows.shape[-1] > 1) + EPS).sqrt()
        scale, shift = self.gamma(std), self.beta(rows.mean(-1))  # [B, C] each
        return F.group_norm(x, self.groups, eps=EPS) * scale[..., None, None] + shift[..., None, None]


def down_levels(widths: Sequence[int], stem: int, counts: Sequence[int]) -> nn.ModuleList:
    """The levels of an encoder, finest first; `stem` is the width of what enters the first."""
    levels = []
    for index, (width, count) in enumerate(zip(widths, counts, strict=True)):
        levels.append(DownLevel(stem, width, count, last=index == len(widths) - 1))
        stem = width
    return nn.ModuleList(levels)


def up_levels(widths: Sequence[int], style: int, counts: Sequence[int]) -> tuple[nn.ModuleList, nn.ModuleList]:
    """The levels of a decoder and the adaptive norm in front of each, finest first."""
    entering = (*widths[1:], widths[-1])
    levels = [
        UpLevel(before, width, count, last=index == 0)
        for index, (before, width, count) in enumerate(zip(entering, widths, counts, strict=True))
    ]
    return nn.ModuleList(levels), nn.ModuleList(AdaptiveGroupNorm(style, before) for before in entering)
