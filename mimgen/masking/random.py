"""Uniform masks with a fixed share of masked patches, single or in square units (MAE, SimMIM)."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from mimgen.errors import UserError
from mimgen.types import Mask, SampleRNG

# Products such as 100 * 0.9 may come out slightly above the integer that is meant.
_SLACK = 1e-9


@dataclass(frozen=True)
class Random:
    """ceil(ratio * units) masked units in each row, every choice of them equally likely.

    Attributes:
        ratio: share of masked units; 0.75 in MAE (section 3), 0.6 in SimMIM (section 3.2).
        unit: side of a unit in patches; SimMIM masks squares of 32 pixels, that is 8 patches of 4.

    Raises:
        UserError: a ratio outside 0..1 or a unit without patches.
    """

    ratio: float = 0.75
    unit: int = 1

    def __post_init__(self) -> None:
        if not 0 < self.ratio < 1:
            raise UserError(f"mask ratio {self.ratio}: choose a share above 0 and below 1")
        if self.unit < 1:
            raise UserError(f"mask unit {self.unit}: choose at least 1 patch")

    def __call__(self, grid: tuple[int, int], rng: SampleRNG) -> Mask:
        """Mask [B, N] of a grid of rows and columns.

        Raises:
            UserError: the grid does not divide into units, or everything would be masked.
        """
        rows, columns = unit_grid(grid, self.unit)
        units = rows * columns
        count = math.ceil(self.ratio * units - _SLACK)
        if count >= units:
            raise UserError(f"mask ratio {self.ratio} masks all {units} units of an image: choose a smaller one")
        return Mask(in_units(largest(rng.uniform(units), count), (rows, columns), self.unit))


def unit_grid(grid: tuple[int, int], unit: int, noun: str = "units") -> tuple[int, int]:
    """Rows and columns of the squares of `unit` x `unit` patches in a grid of patches.

    Raises:
        UserError: the grid does not divide into them.
    """
    rows, columns = grid[0] // unit, grid[1] // unit
    if (rows * unit, columns * unit) != tuple(grid):
        raise UserError(
            f"a grid of {grid[0]} x {grid[1]} patches does not divide into {noun} of {unit}: choose images with a "
            f"multiple of {unit} patches per side, or other {noun}"
        )
    return rows, columns


def largest(noise: Tensor, count: int) -> Tensor:
    """The `count` largest of each row of noise [B, N] as a boolean set; of equal ones the later are larger.

    MAE keeps the patches that come first in a stable sort of uniform noise and masks these.
    """
    positions = noise.argsort(dim=1, stable=True).argsort(dim=1)  # [B, N], rank of each number in its row
    return positions >= noise.shape[1] - count


def in_units(masked: Tensor, grid: tuple[int, int], unit: int) -> Tensor:
    """A set of units [B, h w] of a grid (h, w) as the set of their patches [B, h w unit^2], row-major."""
    cells = masked.unflatten(1, grid)  # [B, h, w]
    return cells.repeat_interleave(unit, 1).repeat_interleave(unit, 2).flatten(1)
