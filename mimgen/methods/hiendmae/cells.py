"""Cutting images and volumes of any number of dimensions into cells, and joining them again."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from torch import Tensor

from mimgen.errors import UserError


def cells_of(sides: Sequence[int], cell: Sequence[int]) -> tuple[int, ...]:
    """Cells along each side.

    Raises:
        UserError: another number of dimensions, or sides that are no multiples of the cell's.
    """
    if len(sides) != len(cell) or any(side % part for side, part in zip(sides, cell)):
        raise UserError(
            f"{' x '.join(map(str, sides))} does not divide into cells of {' x '.join(map(str, cell))}: crop or pad it"
        )
    return tuple(side // part for side, part in zip(sides, cell, strict=True))


def cut(volumes: Tensor, cell: Sequence[int], *, last: bool = True) -> Tensor:
    """Volumes [B, C, S1, ..., Sn] to cells [B, N, C cell1 ... celln], row-major.

    Args:
        volumes: images have n = 2 sides.
        cell: n sides of a cell.
        last: whether the numbers of a cell lie as (positions, channel), or as (channel, positions).
    """
    counts, n = cells_of(volumes.shape[2:], cell), len(cell)
    x = volumes.reshape(*volumes.shape[:2], *(part for pair in zip(counts, cell, strict=True) for part in pair))
    outer, inner = range(2, 2 + 2 * n, 2), range(3, 3 + 2 * n, 2)
    x = x.permute(0, *outer, *inner, 1) if last else x.permute(0, *outer, 1, *inner)
    return x.reshape(len(volumes), prod(counts), -1)


def join(cells: Tensor, counts: Sequence[int], cell: Sequence[int]) -> Tensor:
    """The inverse of `cut` with `last`: cells [B, N, C cell1 ... celln] to volumes [B, C, S1, ..., Sn]."""
    n = len(cell)
    x = cells.reshape(len(cells), *counts, *cell, -1)
    order = [axis for pair in zip(range(1, 1 + n), range(1 + n, 1 + 2 * n), strict=True) for axis in pair]
    x = x.permute(0, 1 + 2 * n, *order)
    return x.reshape(*x.shape[:2], *(count * part for count, part in zip(counts, cell, strict=True)))
