"""Block masks: rectangles of random area and shape until an exact number of patches is hidden (BEiT)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from mimgen.errors import UserError
from mimgen.types import Draws, Mask

ROUNDS = 100


@dataclass(frozen=True)
class Block:
    """Exactly `count` hidden patches in each row, in overlapping rectangles.

    A rectangle has an area uniform between `least` and what is still missing and a log-uniform aspect;
    it is dropped where it does not fit in the grid or would hide too many. All rows try at once; after
    `ROUNDS` tries, the few cells a row still misses are taken at random, as BEiT v2 does.

    Attributes:
        count: hidden patches; 75 of 196 in BEiT v2.
        least: smallest area of a rectangle, as long as that many patches are missing.
        aspect: smallest height over width; the largest is its inverse.
    """

    count: int = 75
    least: int = 16
    aspect: float = 0.3

    def __call__(self, grid: tuple[int, int], draws: Draws) -> Mask:
        """Mask [B, N] of a grid of rows and columns.

        Raises:
            UserError: a count that hides nothing or the whole grid.
        """
        height, width = grid
        if not 0 < self.count < height * width:
            raise UserError(
                f"cannot hide {self.count} of {height * width} patches: choose a count in 1..{height * width - 1}"
            )
        hidden = torch.zeros(len(draws), height, width, dtype=torch.bool)
        numbers = draws.uniform(ROUNDS, 4)
        for tries in numbers.unbind(1):
            missing = self.count - hidden.sum((1, 2))
            if not bool(missing.any()):
                break
            hidden = grown(hidden, rectangles(tries, missing, grid, self.least, self.aspect), missing)
        return Mask(_filled(hidden.flatten(1), self.count, draws))


def rectangles(tries: Tensor, missing: Tensor, grid: tuple[int, int], least: float, aspect: float) -> Tensor:
    """One random rectangle a row, empty where it does not fit in the grid.

    Args:
        tries: [B, 4] uniform numbers: area, aspect, place down, place across.
        missing: [B] cells that may still be hidden; the area lies between `least` and this.
        grid: rows and columns.
        least: smallest area, as long as that many cells are missing.
        aspect: smallest height over width; the largest is its inverse.

    Returns:
        [B, h, w] boolean.
    """
    spans = []
    cells_of = sides(tries, missing, least, aspect)
    for cells, side, place in zip(cells_of, grid, tries[:, 2:].unbind(1), strict=True):
        start = (place * (side - cells + 1)).floor()
        position = torch.arange(side)
        inside = (position >= start[:, None]) & (position < (start + cells)[:, None])
        spans.append(inside & (cells < side)[:, None])
    return spans[0][:, :, None] & spans[1][:, None]


def sides(tries: Tensor, missing: Tensor, least: float, aspect: float) -> tuple[Tensor, Tensor]:
    """Height and width [B] in cells of the rectangles that the first two numbers of `tries` [B, 4] give."""
    area = least + (missing - least) * tries[:, 0]
    shape = (math.log(aspect) * (1 - 2 * tries[:, 1])).exp()
    return (area * shape).sqrt().round(), (area / shape).sqrt().round()


def grown(hidden: Tensor, added: Tensor, missing: Tensor) -> Tensor:
    """Add each row's rectangle `added` to hidden cells [B, h, w] where that hides no more than the `missing` [B]."""
    fits = (added & ~hidden).sum((1, 2)) <= missing
    return hidden | (added & fits[:, None, None])


def _filled(hidden: Tensor, count: int, draws: Draws) -> Tensor:
    """[B, N] with random cells hidden until each row has `count`."""
    keys = draws.uniform(hidden.shape[1]).masked_fill(hidden, -1)
    return keys.argsort(dim=1).argsort(dim=1) < count
