"""Oriented gradients of a patch's cells, each histogram standardised by itself (DMJD)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mimgen.errors import UserError
from mimgen.ops.hog import channel_cells
from mimgen.tokenizers.contract import check_images
from mimgen.types import Mask

LEVELS = 255.0


class WhitenedHog(nn.Module):
    """Gradient histograms of every colour with zero mean and unit variance over the bins of a cell (DMJD, section 3.3).

    The numbers of a patch are ordered by (row of the cell, column of the cell, direction, colour).

    Args:
        patch: side of a patch in pixels.
        bins: unsigned directions of a histogram.
        cell: side of a cell in pixels; half a patch by default.

    Attributes:
        dim: 3 `bins` times the cells of a patch; 108 for 2 x 2 cells of 9 bins.

    Raises:
        UserError: cells that do not divide the patch.
    """

    def __init__(self, patch: int = 16, *, bins: int = 9, cell: int | None = None) -> None:
        super().__init__()
        self.patch, self.bins, self.cell = patch, bins, patch // 2 if cell is None else cell
        if self.cell < 1 or patch % self.cell:
            raise UserError(f"cells of {self.cell} pixels do not divide patches of {patch}: change one of them")
        self.dim = 3 * bins * (patch // self.cell) ** 2

    @torch.no_grad()
    def forward(self, images: Tensor, mask: Mask | None = None) -> Tensor:
        """[B, 3, H, W] in [0, 1] to [B, N, dim] float32, row-major."""
        check_images(images, self.patch)
        cells = self.histograms(images).transpose(2, -1)
        # [B, 3, w, h, bins] now; the norm adds 1e-5 to a variance in units of 0..255
        whitened = F.layer_norm(cells, (self.bins,)).transpose(2, -1)
        side = self.patch // self.cell
        parts = whitened.unflatten(4, (-1, side)).unflatten(3, (-1, side))
        return parts.permute(0, 3, 5, 4, 6, 2, 1).flatten(3).flatten(1, 2)

    def histograms(self, images: Tensor) -> Tensor:
        """[B, 3, H, W] in [0, 1] to histograms [B, 3, bins, H / cell, W / cell] of gradients in units of 0..255."""
        return channel_cells(images.float() * LEVELS, cell=self.cell, bins=self.bins)

    def loss(self, predicted: Tensor, goal: Tensor) -> Tensor:
        """Mean squared error [M] of [M, D] and [M, D]."""
        return (predicted.float() - goal).square().mean(-1)
