"""Uniform masks with a random rate per image, as masked generators train with."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from mimgen.errors import UserError
from mimgen.types import Mask, SampleRNG


@dataclass(frozen=True)
class CosineRate:
    """Masking rate cos(pi u / 2) with u uniform on [0, 1) (MaskGIT; Meissonic section 3).

    Exactly max(1, round(rate * N)) tokens of each row are masked, at uniformly random positions.

    Attributes:
        minimum: lower bound of the rate.
        full_mask_prob: share of rows that are masked entirely. A few visible tokens already predict the colours and
            the kind of an image; only a fully masked image teaches to follow the caption.
    """

    minimum: float = 0.0
    full_mask_prob: float = 0.0

    def __post_init__(self) -> None:
        if not (0 <= self.full_mask_prob < 1 and 0 <= self.minimum <= 1):
            raise UserError(
                f"CosineRate: minimum lies in [0, 1] and full_mask_prob in [0, 1), got {self.minimum}, "
                f"{self.full_mask_prob}"
            )

    def __call__(self, tokens: int, rng: SampleRNG) -> tuple[Mask, Tensor]:
        """Mask [B, N] for N = `tokens`, and the sampled rates [B]."""
        # the random numbers below `full_mask_prob` give rate 1, the others spread over [0, 1) as ever
        u = ((rng.uniform() - self.full_mask_prob) / (1 - self.full_mask_prob)).clamp(min=0)
        rates = torch.cos(u * math.pi / 2).clamp(min=self.minimum)
        return Mask(smallest(rng.uniform(tokens), (rates * tokens).round().clamp(min=1))), rates


@dataclass(frozen=True)
class ArccosRate:
    """Masking rate arccos(u) / (pi / 2) with u uniform on [0, 1) (Halton-MaskGIT, section 3; TiTok).

    Exactly max(1, round(rate * N)) tokens of each row are masked, at uniformly random positions.

    Attributes:
        minimum: lower bound of the rate.
    """

    minimum: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.minimum <= 1:
            raise UserError(f"ArccosRate: minimum lies in [0, 1], got {self.minimum}")

    def __call__(self, tokens: int, rng: SampleRNG) -> tuple[Mask, Tensor]:
        """Mask [B, N] for N = `tokens`, and the sampled rates [B]."""
        rates = (torch.arccos(rng.uniform()) / (math.pi / 2)).clamp(min=self.minimum)
        return Mask(smallest(rng.uniform(tokens), (rates * tokens).round().clamp(min=1))), rates


def smallest(noise: Tensor, counts: Tensor) -> Tensor:
    """The `counts` [B] smallest of each row of noise [B, N] as a boolean set; of equal ones the earlier."""
    return noise.argsort(dim=1, stable=True).argsort(dim=1) < counts[:, None]
