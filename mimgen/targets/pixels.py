"""Pixels of a patch as the target, each patch normalised by itself (MAE, section 3)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mimgen.tokenizers.contract import check_images
from mimgen.types import Mask

EPSILON = 1e-6


class PixelTarget(nn.Module):
    """Patches [B, N, 3 patch^2], channel first: (channel, row, column).

    Args:
        patch: side of a patch in pixels.
        normalise: (x - mean) / sqrt(variance + 1e-6) over the numbers of a patch, variance unbiased.
    """

    def __init__(self, patch: int = 16, *, normalise: bool = True) -> None:
        super().__init__()
        self.patch, self.dim, self.normalise = patch, 3 * patch * patch, normalise

    @torch.no_grad()
    def forward(self, images: Tensor, mask: Mask | None = None) -> Tensor:
        """[B, 3, H, W] in [0, 1] to [B, N, 3 patch^2] float32."""
        check_images(images, self.patch)
        patches = F.pixel_unshuffle(images.float(), self.patch).flatten(2).transpose(1, 2)
        if not self.normalise:
            return patches
        variance, mean = torch.var_mean(patches, dim=-1, keepdim=True)
        return (patches - mean) / (variance + EPSILON).sqrt()

    def loss(self, predicted: Tensor, goal: Tensor) -> Tensor:
        """Mean squared error [M] of [M, D] and [M, D]."""
        return (predicted.float() - goal).square().mean(-1)
