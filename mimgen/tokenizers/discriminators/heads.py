"""Readouts of the DINO discriminator: small convolutions over the token sequence of one depth."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

GROUP = 8  # images that share the statistics of a norm


class SpectralConv(nn.Module):
    """Circular 1-D convolution by its weight over its largest singular value (arXiv 1802.05957).

    Each pass in training improves the estimate of that value by one power iteration.

    Args:
        narrow: channels in.
        wide: channels out.
        size: odd kernel size.
    """

    weight_u: Tensor
    weight_v: Tensor

    def __init__(self, narrow: int, wide: int, size: int = 1) -> None:
        super().__init__()
        initial = nn.Conv1d(narrow, wide, size)
        self.weight_orig, self.bias = initial.weight, initial.bias
        for name, length in (("weight_u", wide), ("weight_v", narrow * size)):
            self.register_buffer(name, F.normalize(torch.randn(length), dim=0, eps=1e-12))
        self.pad = size // 2

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, L] to [B, C', L]."""
        # Sums of products instead of matrix products, which mixed precision would shorten.
        matrix = self.weight_orig.flatten(1)  # [C', C size]
        if self.training:
            with torch.no_grad():
                self.weight_v.copy_(F.normalize((matrix * self.weight_u[:, None]).sum(0), dim=0, eps=1e-12))
                self.weight_u.copy_(F.normalize((matrix * self.weight_v).sum(1), dim=0, eps=1e-12))
        # The copies keep the graph valid when the next pass moves the vectors.
        u, v = self.weight_u.clone(), self.weight_v.clone()
        weight = self.weight_orig / (u[:, None] * matrix * v).sum()
        if self.pad:
            x = F.pad(x, (self.pad, self.pad), mode="circular")
        return F.conv1d(x, weight, self.bias)


class GroupBatchNorm(nn.Module):
    """Batch norm over groups of at most 8 images, always by the statistics of the group.

    Args:
        width: channels C.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, L] -> [B, C, L]; groups differ by one image where B does not divide."""
        groups = torch.tensor_split(x, -(-len(x) // GROUP))
        normed = torch.cat([self._whiten(group) for group in groups])
        return normed * self.weight[:, None] + self.bias[:, None]

    @staticmethod
    def _whiten(group: Tensor) -> Tensor:
        variance, mean = torch.var_mean(group.float(), dim=(0, 2), keepdim=True, correction=0)  # [1, C, 1]
        return (group - mean) * (variance + 1e-6).rsqrt()


class Residual(nn.Module):
    """(fn(x) + x) / sqrt 2."""

    def __init__(self, fn: nn.Module) -> None:
        super().__init__()
        self.fn = fn

    def forward(self, x: Tensor) -> Tensor:
        """Shape unchanged."""
        return (self.fn(x) + x) / 2**0.5


def head(width: int, size: int) -> nn.Sequential:
    """Tokens of one depth [B, D, L] to logits [B, 1, L].

    Args:
        width: D.
        size: kernel of the residual convolution.
    """

    def stage(kernel: int) -> nn.Sequential:
        return nn.Sequential(SpectralConv(width, width, kernel), GroupBatchNorm(width), nn.LeakyReLU(0.2))

    return nn.Sequential(stage(1), Residual(stage(size)), SpectralConv(width, 1))
