"""Halving a token grid in front of a trunk and doubling it behind (the feature compression of Meissonic).

The strides equal the kernels, so every trunk cell reads and writes its own 2x2 tokens and can be computed alone.
Parameter names are those of the official release.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from mimgen.layers.norm import ChannelRMSNorm, RMSNorm


class Resample(nn.Module):
    """RMS norm and a 2x2 convolution of stride 2, down or (transposed) up."""

    def __init__(self, width: int, up: bool) -> None:
        super().__init__()
        kind = nn.ConvTranspose2d if up else nn.Conv2d
        layers = {"norm": ChannelRMSNorm(width), "conv": kind(width, width, 2, stride=2, bias=False)}
        self.name = "upsample" if up else "downsample"  # as in the release
        self.add_module(self.name, nn.ModuleDict(layers))

    def forward(self, x: Tensor) -> Tensor:
        """[B, D, h, w] to half the grid (odd sides are padded by one zero row or column) or twice it."""
        layers = self._layers
        x = layers["norm"](x)
        if self.name == "downsample":
            x = F.pad(x, (0, x.shape[3] % 2, 0, x.shape[2] % 2))
        return layers["conv"](x)

    def down(self, corners: Tensor, inside: Tensor) -> Tensor:
        """Chosen cells alone, downwards.

        Args:
            corners: [B, m, 4, D] tokens of each cell, row-major.
            inside: [B, m, 4] boolean, false where a corner lies beyond an odd side of the grid.

        Returns:
            [B, m, D].
        """
        x = RMSNorm.forward(self._layers["norm"], corners) * inside[..., None]  # type: ignore[arg-type]
        return F.linear(x.flatten(2), self._weight.permute(0, 2, 3, 1).flatten(1))

    def up(self, cells: Tensor) -> Tensor:
        """Chosen cells alone, upwards: [B, m, D] -> [B, m, 4, D], the tokens of each cell, row-major."""
        x = RMSNorm.forward(self._layers["norm"], cells)  # type: ignore[arg-type]
        weight = self._weight.permute(2, 3, 1, 0)  # stored as inputs, outputs, rows, columns
        return F.linear(x, weight.flatten(0, 2)).unflatten(2, (4, -1))

    @property
    def _layers(self) -> nn.ModuleDict:
        layers = self.get_submodule(self.name)
        assert isinstance(layers, nn.ModuleDict)
        return layers

    @property
    def _weight(self) -> Tensor:
        return self._layers["conv"].get_parameter("weight")
