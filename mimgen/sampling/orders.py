"""Orders of unmasking: which masked positions are revealed next.

An order is a frozen dataclass. `plan` gives the rank of every position (0 is revealed first) where the
order is known before the first prediction, and None where it follows from the predictions. Orders that
are known beforehand let the sampler ask for the logits of only those positions that it reveals.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from mimgen.errors import UserError
from mimgen.types import SampleRNG


class Order(Protocol):
    """The interface of every order."""

    def plan(self, grid: tuple[int, int], rng: SampleRNG) -> Tensor | None:
        """[B, N] int64 rank of each position of the grid (h, w), or None: by confidence."""
        ...


@dataclass(frozen=True)
class Confidence:
    """The most confident tokens first: log p + temperature * Gumbel noise (MaskGIT, section 3.2)."""

    def plan(self, grid: tuple[int, int], rng: SampleRNG) -> Tensor | None:
        """None: the ranks follow from the predictions."""
        return None


@dataclass(frozen=True)
class Raster:
    """Row by row, from the top left."""

    def plan(self, grid: tuple[int, int], rng: SampleRNG) -> Tensor | None:
        """[B, N] int64 ranks 0 .. N-1."""
        return torch.arange(grid[0] * grid[1]).expand(len(rng), -1)


@dataclass(frozen=True)
class Random:
    """A permutation of its own for each row."""

    def plan(self, grid: tuple[int, int], rng: SampleRNG) -> Tensor | None:
        """[B, N] int64, a permutation of 0 .. N-1 in each row, sampled from `rng`."""
        return rng.uniform(grid[0] * grid[1]).argsort(dim=1, stable=True).argsort(1)


@dataclass(frozen=True)
class Halton:
    """The quasi-random Halton order, evenly spread over the image (Halton-MaskGIT, section 4).

    Attributes:
        roll: start each row at its own random place of the sequence.
    """

    roll: bool = False

    def plan(self, grid: tuple[int, int], rng: SampleRNG) -> Tensor | None:
        """[B, N] int64 ranks 0 .. N-1, rolled by an amount sampled from `rng` if asked for."""
        count = grid[0] * grid[1]
        ranks = halton_cells(grid).argsort().expand(len(rng), -1)  # [B, N]; the inverse of a permutation
        if not self.roll:
            return ranks
        shift = (rng.uniform(1) * count).long()  # [B, 1]
        return (ranks + shift) % count


def halton_cells(grid: tuple[int, int], points: int | None = None) -> Tensor:
    """Cells of a grid in the order in which the Halton sequence first visits them.

    Base 2 runs over rows, base 3 over columns; the sequence starts at index 1. Values are cast to float32
    before they are scaled to the grid, as in the released sampler.

    Args:
        grid: rows and columns.
        points: length of the sequence. None takes as many as visit every cell. The released sampler
            takes 10000, which on grids beyond 48 x 48 misses cells (6 of 4096 at 64 x 64).

    Returns:
        [N] int64 row-major cells; fewer than N if `points` misses some.
    """
    rows, columns = grid
    if rows < 1 or columns < 1:
        raise UserError(f"grid {grid}: rows and columns must be at least 1")
    count = rows * columns
    length = points or 4 * count  # points repeat cells, so more are needed than there are cells
    while True:
        row = (_radical_inverse(length, 2) * rows).floor().long()
        column = (_radical_inverse(length, 3) * columns).floor().long()
        index = torch.arange(length)
        first = torch.full((count,), length).scatter_reduce(0, row * columns + column, index, "amin")  # [h w]
        visited = int((first < length).sum())
        if points is not None or visited == count:
            return first.argsort(stable=True)[:visited]
        length *= 2


def _radical_inverse(length: int, base: int) -> Tensor:
    """[length] float32: the digits of 1 .. length in `base`, mirrored behind the point."""
    rest = torch.arange(1, length + 1)
    mirrored = torch.zeros_like(rest)
    scale = 1
    while bool((rest > 0).any()):
        mirrored = mirrored * base + rest % base
        rest = rest // base
        scale *= base
    # One division of exact integers: correctly rounded whatever the number of digits.
    return (mirrored.double() / scale).float()
