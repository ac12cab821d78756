"""Two masks of one image whose visible patches differ, so that almost every patch is predicted (DMJD)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from mimgen.errors import UserError
from mimgen.masking.random import in_units, largest, unit_grid
from mimgen.types import Mask, SampleRNG

# Products such as 100 * 0.6 may come out slightly beside the integer that is meant.
_SLACK = 1e-9


@dataclass(frozen=True)
class Disjoint:
    """Two views that mask `ratio` each and together `predicted` of the units (DMJD, section 3.2).

    The first masks units at random; the second masks min(predicted - ratio, ratio) of all units among those
    visible in the first, and fills up from those that it masks. With a ratio of a half or more and everything
    predicted, no unit is visible in both.

    Attributes:
        ratio: share of masked units of each view.
        predicted: share of units masked in one of them at least. At `ratio` the second mask is the first.
        unit: side of a unit in patches; 2 in DMJD, for 32 pixels.
        independent: sample both at random instead; `predicted` is then ignored.

    Raises:
        UserError: shares or units that are impossible.
    """

    ratio: float = 0.6
    predicted: float = 1.0
    unit: int = 2
    independent: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.ratio < 1:
            raise UserError(f"mask ratio {self.ratio}: choose a share above 0 and below 1")
        if not self.ratio <= self.predicted <= 1:
            raise UserError(f"predicted share {self.predicted}: choose it between the mask ratio {self.ratio} and 1")
        if self.unit < 1:
            raise UserError(f"mask unit {self.unit}: choose at least 1 patch")

    def __call__(self, grid: tuple[int, int], rng: SampleRNG) -> tuple[Mask, Mask]:
        """Two masks [B, N] of a grid of rows and columns.

        Raises:
            UserError: the grid does not divide into units, or everything would be masked.
        """
        rows, columns = unit_grid(grid, self.unit)
        units = rows * columns
        kept = math.floor((1 - self.ratio) * units + _SLACK)
        if not kept:
            raise UserError(f"mask ratio {self.ratio} masks all {units} units of an image: choose a smaller one")
        first, noise = largest(rng.uniform(units), units - kept), rng.uniform(units)
        second = largest(noise, units - kept) if self.independent else second_view(first, noise, self.quota(units))
        cells = rows, columns
        return Mask(in_units(first, cells, self.unit)), Mask(in_units(second, cells, self.unit))

    def quota(self, units: int) -> int:
        """Units visible in the first view that the second masks."""
        return math.floor(min(self.predicted - self.ratio, self.ratio) * units + _SLACK)


def second_view(first: Tensor, noise: Tensor, quota: int) -> Tensor:
    """Mask the same number again: `quota` of the units visible in the first view, the rest of those it masks.

    Of each group the units with the largest noise are masked.

    Args:
        first: [B, N] boolean, masked in the first view, the same number in every row.
        noise: [B, N] real, in [0, 1).
        quota: at most the number of visible units, and of masked ones.

    Returns:
        [B, N] boolean.
    """
    count = int(first[0].sum())
    # noise is below 1, so each group stands together after the shift: the masked ones first or last
    from_visible = largest(torch.where(first, noise - 1, noise), quota)
    from_masked = largest(torch.where(first, noise, noise - 1), count - quota)
    return from_visible | from_masked
