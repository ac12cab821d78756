"""Fusing several layers of an encoder into one before a decoder (MFF)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mimgen.errors import UserError
from mimgen.pretrained import PretrainedModule


class LayerFusion(PretrainedModule):
    """sum_k softmax(w)_k proj_k(h_k), the last layer without projection (MFF, section 3.3, equation 2).

    Args:
        width: D of the encoder.
        layers: number of layers K that are fused; with 1 nothing is learned and the layer comes out as it is.
        learned: train w; it stays at even shares otherwise.

    Raises:
        UserError: no layer.
    """

    def __init__(self, width: int = 768, layers: int = 6, learned: bool = True) -> None:
        super().__init__()
        if layers < 1:
            raise UserError(f"{layers} layers to fuse: choose at least 1")
        self.proj = nn.ModuleList(nn.Linear(width, width) for _ in range(layers - 1))
        # of one dimension, so that weight decay, which would pull the shares together, leaves it alone
        self.weights = nn.Parameter(torch.ones(layers), requires_grad=learned and layers > 1)
        for layer in self.proj:
            assert isinstance(layer, nn.Linear)
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    @property
    def shares(self) -> Tensor:
        """[K] weights of the layers, which add to 1."""
        return self.weights.softmax(0)

    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        """K levels [B, T, D], the lowest first, to one [B, T, D].

        Raises:
            UserError: another number of levels.
        """
        if len(levels) != len(self.weights):
            raise UserError(f"{len(levels)} levels for a fusion of {len(self.weights)}: give one for each weight")
        projected = [layer(level) for layer, level in zip(self.proj, levels[:-1], strict=True)]
        weighted = zip(self.shares, [*projected, levels[-1]], strict=True)
        return torch.stack([share * level for share, level in weighted]).sum(0)
