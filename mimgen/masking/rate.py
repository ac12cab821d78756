"""Uniform masks with a random rate per picture, as masked generators train with."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from mimgen.errors import UserError
from mimgen.types import Draws, Mask


@dataclass(frozen=True)
class CosineRate:
    """Masking rate cos(pi u / 2) with u uniform on [0, 1) (MaskGIT; Meissonic section 3).

    Exactly max(1, round(rate * N)) tokens of each row are hidden, at uniformly random places.

    Attributes:
        least: lower bound of the rate.
        whole: share of rows that are hidden entirely. A few visible tokens already tell the colours and
            the kind of a picture; only a wholly hidden one teaches what the caption says.
    """

    least: float = 0.0
    whole: float = 0.0

    def __post_init__(self) -> None:
        if not (0 <= self.whole < 1 and 0 <= self.least <= 1):
            raise UserError(f"CosineRate: least lies in [0, 1] and whole in [0, 1), got {self.least}, {self.whole}")

    def __call__(self, tokens: int, draws: Draws) -> tuple[Mask, Tensor]:
        """Mask [B, N] for N = `tokens`, and the drawn rates [B]."""
        # the draws below `whole` give rate 1, the others spread over [0, 1) as ever
        u = ((draws.uniform() - self.whole) / (1 - self.whole)).clamp(min=0)
        rates = torch.cos(u * math.pi / 2).clamp(min=self.least)
        return Mask(smallest(draws.uniform(tokens), (rates * tokens).round().clamp(min=1))), rates


@dataclass(frozen=True)
class ArccosRate:
    """Masking rate arccos(u) / (pi / 2) with u uniform on [0, 1) (Halton-MaskGIT, section 3; TiTok).

    Exactly max(1, round(rate * N)) tokens of each row are hidden, at uniformly random places.

    Attributes:
        least: lower bound of the rate.
    """

    least: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.least <= 1:
            raise UserError(f"ArccosRate: least lies in [0, 1], got {self.least}")

    def __call__(self, tokens: int, draws: Draws) -> tuple[Mask, Tensor]:
        """Mask [B, N] for N = `tokens`, and the drawn rates [B]."""
        rates = (torch.arccos(draws.uniform()) / (math.pi / 2)).clamp(min=self.least)
        return Mask(smallest(draws.uniform(tokens), (rates * tokens).round().clamp(min=1))), rates


def smallest(noise: Tensor, counts: Tensor) -> Tensor:
    """The `counts` [B] smallest of each row of noise [B, N] as a boolean set; of equal ones the earlier."""
    return noise.argsort(dim=1, stable=True).argsort(dim=1) < counts[:, None]
