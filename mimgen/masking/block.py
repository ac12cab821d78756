"""Block masks: rectangles of random area and shape until an exact number of patches is masked (BEiT)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from mimgen.errors import UserError
from mimgen.types import Mask, SampleRNG

ROUNDS = 100  # tries; a row that needs more is rare, and `_filled` completes it


@dataclass(frozen=True)
class Block:
    """Exactly `count` masked patches in each row, in overlapping rectangles.

    A rectangle has an area uniform between `minimum` and what is still missing and a log-uniform aspect;
    it is dropped where it does not fit in the grid or would mask too many. All rows try at once; after
    `ROUNDS` tries, the few cells per row still misses are taken at random, as BEiT v2 does.

    Attributes:
        count: masked patches; 75 of 196 in BEiT v2.
        minimum: smallest area of a rectangle, as long as that many patches are missing.
        aspect: smallest height over width; the largest is its inverse.
    """

    count: int = 75
    minimum: int = 16
    aspect: float = 0.3

    def __call__(self, grid: tuple[int, int], rng: SampleRNG) -> Mask:
        """Mask [B, N] of a grid of rows and columns.

        Raises:
            UserError: a count that masks nothing or the full grid.
        """
        height, width = grid
        if not 0 < self.count < height * width:
            raise UserError(
                f"cannot mask {self.count} of {height * width} patches: choose a count in 1..{height * width - 1}"
            )
        masked = torch.zeros(len(rng), height, width, dtype=torch.bool)
        numbers = rng.uniform(ROUNDS, 4)  # [B, ROUNDS, 4], all at once: a row must not depend on the others
        for tries in numbers.unbind(1):
            missing = self.count - masked.sum((1, 2))
            if not bool(missing.any()):
                break
            masked = grown(masked, rectangles(tries, missing, grid, self.minimum, self.aspect), missing)
        return Mask(_filled(masked.flatten(1), self.count, rng))


def rectangles(tries: Tensor, missing: Tensor, grid: tuple[int, int], minimum: float, aspect: float) -> Tensor:
    """One random rectangle per row, empty where it does not fit in the grid.

    Args:
        tries: [B, 4] uniform numbers: area, aspect, place down, place across.
        missing: [B] cells that may still be masked; the area lies between `minimum` and this.
        grid: rows and columns.
        minimum: smallest area, as long as that many cells are missing.
        aspect: smallest height over width; the largest is its inverse.

    Returns:
        [B, h, w] boolean.
    """
    spans = []
    cells_of = sides(tries, missing, minimum, aspect)
    for cells, side, corner in zip(cells_of, grid, tries[:, 2:].unbind(1), strict=True):
        start = (corner * (side - cells + 1)).floor()
        position = torch.arange(side)
        inside = (position >= start[:, None]) & (position < (start + cells)[:, None])
        spans.append(inside & (cells < side)[:, None])
    return spans[0][:, :, None] & spans[1][:, None]


def sides(tries: Tensor, missing: Tensor, minimum: float, aspect: float) -> tuple[Tensor, Tensor]:
    """Height and width [B] in cells of the rectangles that the first two numbers of `tries` [B, 4] give."""
    area = minimum + (missing - minimum) * tries[:, 0]
    shape = (math.log(aspect) * (1 - 2 * tries[:, 1])).exp()
    return (area * shape).sqrt().round(), (area / shape).sqrt().round()


def grown(masked: Tensor, added: Tensor, missing: Tensor) -> Tensor:
    """Add each row's rectangle `added` to masked cells [B, h, w] where that masks no more than the `missing` [B]."""
    fits = (added & ~masked).sum((1, 2)) <= missing
    return masked | (added & fits[:, None, None])


def _filled(masked: Tensor, count: int, rng: SampleRNG) -> Tensor:
    """[B, N] with random cells masked until each row has `count`."""
    keys = rng.uniform(masked.shape[1]).masked_fill(masked, -1)
    return keys.argsort(dim=1).argsort(dim=1) < count
