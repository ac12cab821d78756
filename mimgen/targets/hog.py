"""Histograms of oriented gradients as the target: a fixed description of edges (MaskFeat)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mimgen.errors import UserError
from mimgen.ops.hog import hog_cells
from mimgen.tokenizers.contract import check_images
from mimgen.types import Mask


class HogTarget(nn.Module):
    """Gradient histograms of the four quarters of each patch, and the mean colours of the quarters.

    Gradients alone are zero on a flat patch, which has no direction to be compared by cosine; colours
    are counted from mid grey.

    Args:
        patch: side of a patch in pixels, even.
        bins: unsigned directions of a histogram.
    """

    def __init__(self, patch: int = 16, *, bins: int = 9) -> None:
        super().__init__()
        if patch % 2:
            raise UserError(f"a patch of {patch} pixels has no quarters: choose an even patch")
        self.patch, self.bins, self.dim = patch, bins, 4 * (bins + 3)

    @torch.no_grad()
    def forward(self, images: Tensor, mask: Mask | None = None) -> Tensor:
        """[B, 3, H, W] in [0, 1] to [B, N, 4 (bins + 3)] float32."""
        check_images(images, self.patch)
        images, cell = images.float(), self.patch // 2
        edges = F.pixel_unshuffle(hog_cells(images, cell=cell, bins=self.bins), 2)  # [B, 4 bins, h, w]
        colours = F.pixel_unshuffle(F.avg_pool2d(images - 0.5, cell), 2)  # [B, 12, h, w]
        # the large eps keeps nearly flat quarters near 0 instead of stretching their noise to unit length
        parts = F.normalize(edges, dim=1, eps=1e-2), F.normalize(colours, dim=1, eps=1e-2)
        return torch.cat(parts, dim=1).flatten(2).transpose(1, 2)

    def loss(self, predicted: Tensor, goal: Tensor) -> Tensor:
        """Mean squared error [M] of [M, D] and [M, D]."""
        return (predicted.float() - goal).square().mean(-1)
