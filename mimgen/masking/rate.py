"""Uniform masks with a random rate per picture, as masked generators train with."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from mimgen.types import Draws, Mask


@dataclass(frozen=True)
class CosineRate:
    """Masking rate cos(pi u / 2) with u uniform on [0, 1) (MaskGIT; Meissonic section 3).

    Exactly max(1, round(rate * N)) tokens of each row are hidden, at uniformly random places.

    Attributes:
        least: lower bound of the rate.
    """

    least: float = 0.0

    def __call__(self, tokens: int, draws: Draws) -> tuple[Mask, Tensor]:
        """Mask [B, N] for N = `tokens`, and the drawn rates [B]."""
        rates = torch.cos(draws.uniform() * math.pi / 2).clamp(min=self.least)
        counts = (rates * tokens).round().clamp(min=1)
        ranks = draws.uniform(tokens).argsort(dim=1).argsort(dim=1)
        return Mask(ranks < counts[:, None]), rates
