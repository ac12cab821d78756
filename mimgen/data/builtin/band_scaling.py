"""Bands of an instrument, each with its own unit, to [0, 1] and back."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mimgen.errors import UserError

__all__ = ["MODIS_TOA", "BandScaling"]


@dataclass(frozen=True)
class BandScaling:
    """(value - low) / (high - low) in each band; values outside the range are not clipped, so it can be undone.

    Attributes:
        low: for each band the value that becomes 0.
        high: for each band the value that becomes 1.

    Raises:
        UserError: as many lows as highs are needed, and each high above its low.
    """

    low: tuple[float, ...]
    high: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.low) != len(self.high) or any(a >= b for a, b in zip(self.low, self.high, strict=False)):
            raise UserError(f"bands from {self.low} to {self.high}: give each band a low and a larger high")

    def __call__(self, values: Tensor) -> Tensor:
        """Measured values [..., C, H, W] to float32 of the same shape, in [0, 1] within the range.

        Raises:
            UserError: another number of bands.
        """
        low, high = self._bounds(values)
        return (values.float() - low) / (high - low)

    def undo(self, scaled: Tensor) -> Tensor:
        """Scaled values [..., C, H, W] in their own units."""
        low, high = self._bounds(scaled)
        return scaled.float() * (high - low) + low

    def _bounds(self, values: Tensor) -> tuple[Tensor, Tensor]:
        if values.ndim < 3 or values.shape[-3] != len(self.low):
            raise UserError(f"this scaling is of {len(self.low)} bands [..., C, H, W], got {list(values.shape)}")
        low, high = (torch.tensor(side, device=values.device)[:, None, None] for side in (self.low, self.high))
        return low, high


# MODIS at the top of the atmosphere as SatVision-TOA takes it (arXiv 2411.17000): reflectance in percent in bands
# 0 to 4 and 6, brightness temperature in kelvin in the others
MODIS_TOA = BandScaling(
    low=(
        0.0, 0.0, 0.0, 0.0, 0.0, 223.1222, 0.0,
        178.9174, 204.3739, 204.7677, 194.8686, 202.1759, 201.3823, 203.3537,
    ),
    high=(
        100.0, 100.0, 100.0, 100.0, 100.0, 352.7182, 100.0,
        261.2920, 282.5529, 319.0373, 295.0209, 324.0677, 321.5254, 285.9848,
    ),
)  # fmt: skip
