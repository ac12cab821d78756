"""Finite scalar quantisation."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mimgen.errors import UserError
from mimgen.tokenizers.quantizers.base import Quantizer
from mimgen.types import Codes


class FiniteScalarQuantizer(Quantizer):
    """Every channel rounded to a few levels (FSQ, arXiv 2309.15505); no codebook, no loss.

    Args:
        levels: levels of each channel, at least 3; K is their product. The paper suggests
            (8, 5, 5, 5) for 1000 codes and (8, 8, 8, 5, 5, 5) for 64000.
        dim: width D of the latents, the number of levels when None.

    Raises:
        UserError: for an empty list or a level below 3.
    """

    def __init__(self, levels: Sequence[int], dim: int | None = None) -> None:
        if not levels or min(levels) < 3:
            raise UserError(f"levels {list(levels)}: finite scalar quantisation needs levels of at least 3")
        super().__init__(dim or len(levels), len(levels), math.prod(levels))
        self.levels = tuple(levels)
        self.fsq: nn.Module | None = None

    def _rounding(self, device: torch.device) -> nn.Module:
        """The library's layer, made when something is first encoded: its import costs more than an image."""
        from vector_quantize_pytorch import FSQ

        if self.fsq is None:
            self.fsq = FSQ(list(self.levels)).to(device)
        return self.fsq

    def forward(self, latents: Tensor) -> Codes:
        """Quantise latents [B, D, h, w]; `losses` is empty."""
        with torch.autocast(latents.device.type, enabled=False):
            quantised, indices = self._rounding(latents.device)(self._rows(latents))
            out = self._map(quantised, *latents.shape[2:]).to(latents.dtype)
        return Codes(indices.long().unflatten(1, latents.shape[2:]), out, {})

    def _codes(self, indices: Tensor) -> Tensor:
        levels = torch.tensor(self.levels, device=indices.device)
        # place values: channel 0 changes fastest
        bases = [math.prod(self.levels[:i]) for i in range(len(self.levels))]
        half = levels // 2
        digits = indices[..., None] // torch.tensor(bases, device=indices.device) % levels  # [..., channels]
        return ((digits - half) / half).float()  # an even number of levels has one more below 0 than above
