"""The residual block of VQGAN that released convolutional tokenizers share, each with its own details."""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor, nn

EPS = 1e-6


def group_norm(channels: int) -> nn.GroupNorm:
    """Group norm of 32 groups, fewer where the channels do not divide by 32."""
    return nn.GroupNorm(math.gcd(32, channels), channels, eps=EPS)


class ResidualBlock(nn.Module):
    """Norm, SiLU, 3x3 convolution, twice, plus the input. [B, C, h, w] -> [B, C', h, w].

    Args:
        inputs: C.
        outputs: C'.
        bias: of the convolutions; LlamaGen has them, MAGVIT-2 and MaskGIT have none.
        shortcut_of_result: where the width changes, the 1x1 convolution of the shortcut reads the result and
            not the input: so MaskGIT has it, and released weights depend on it.
    """

    def __init__(
        self, inputs: int, outputs: int, *, bias: bool = False, shortcut_of_result: bool = False
    ) -> None:
        super().__init__()
        self.shortcut_of_result = shortcut_of_result
        self.norm1, self.norm2 = group_norm(inputs), group_norm(outputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1, bias=bias)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=bias)
        if inputs != outputs:
            self.nin_shortcut = nn.Conv2d(outputs if shortcut_of_result else inputs, outputs, 1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, h, w] -> [B, C', h, w]."""
        h = self.conv1(F.silu(self.norm1(x)))
        h = self.conv2(F.silu(self.norm2(h)))
        if not hasattr(self, "nin_shortcut"):
            return x + h
        return self.nin_shortcut(h if self.shortcut_of_result else x) + h
