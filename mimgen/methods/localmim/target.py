"""Oriented gradients of square cells as the target, each colour by itself (LocalMIM)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mimgen.ops.hog import sobel_histograms
from mimgen.tokenizers.contract import check_images
from mimgen.types import Mask


class SobelTarget(nn.Module):
    """Gradient histograms of cells, the colours one after the other (LocalMIM, section 3.2).

    A target of several scales is several of these, one for each size of cell.

    Args:
        patch: side of a cell in pixels.
        bins: unsigned directions of a histogram; 9, in LocalMIM's large model 18.
        offset: add a constant, sampled once, to all differences, as the official code does for the large model:
            its filter has kept the random bias of a fresh convolution. It is saved with the run.
        std: by which the channels are divided first; matters beside an offset only.

    Attributes:
        dim: 3 `bins`.
    """

    offset: Tensor | None
    std: Tensor

    def __init__(
        self,
        patch: int = 16,
        *,
        bins: int = 9,
        offset: bool = False,
        std: tuple[float, float, float] = (1.0, 1.0, 1.0),
    ) -> None:
        super().__init__()
        self.patch, self.bins, self.dim = patch, bins, 3 * bins
        bound = 1 / 3  # 1 / sqrt(inputs of a 3 x 3 kernel), the bound of a fresh bias
        self.register_buffer("offset", torch.empty(2).uniform_(-bound, bound) if offset else None)
        self.register_buffer("std", torch.tensor(std)[:, None, None], persistent=False)

    @torch.no_grad()
    def forward(self, images: Tensor, mask: Mask | None = None) -> Tensor:
        """[B, 3, H, W] in [0, 1] to [B, N, 3 bins] float32 for N cells, row-major; every third of unit length."""
        check_images(images, self.patch)
        found = sobel_histograms(images.float() / self.std, cell=self.patch, bins=self.bins, offset=self.offset)
        return found.flatten(1, 2).flatten(2).transpose(1, 2)

    def loss(self, predicted: Tensor, goal: Tensor) -> Tensor:
        """Mean squared error [M] of [M, D] and [M, D]."""
        return (predicted.float() - goal).square().mean(-1)
