"""Chosen cells of a trunk's grid: as many in each row of the batch as the row that has most, the others padded.

A trunk cell is one token, or a square of 2x2 tokens where the grid is halved in front of the trunk.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mimgen.ops.positions import padded_nonzero


@dataclass(frozen=True)
class Cells:
    """Cells of each row, ascending.

    Attributes:
        index: [B, m] int64 row-major cells; padding names further cells of the grid, none of them twice.
        valid: [B, m] boolean, false where padded.
    """

    index: Tensor
    valid: Tensor

    @classmethod
    def where(cls, chosen: Tensor) -> Cells:
        """The cells at which chosen [B, n] is true."""
        return cls(*padded_nonzero(chosen))

    @classmethod
    def holding(cls, cells: Tensor, count: int) -> Cells:
        """The cells that [B, M] name, repeated or not, of a grid of `count`."""
        return cls.where(marked(cells, count))

    def positions(self, cells: Tensor, count: int) -> Tensor:
        """Where in `index` the cells [B, M], all of them valid, are: [B, M]. `count` is that of the grid."""
        order = torch.arange(self.index.shape[1], device=cells.device).expand_as(self.index)
        return self.index.new_zeros(len(cells), count).scatter(1, self.index, order).gather(1, cells)


def marked(cells: Tensor, count: int) -> Tensor:
    """[B, count] boolean, true at cells [B, M]."""
    return torch.zeros(len(cells), count, dtype=torch.bool, device=cells.device).scatter(1, cells, True)


@dataclass(frozen=True)
class CellGrid:
    """How tokens lie in cells.

    Attributes:
        rows, columns: of the tokens.
        side: tokens along the side of a cell, 1 or 2.
    """

    rows: int
    columns: int
    side: int

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the cells; an odd last row or column of tokens has cells of its own."""
        return -(-self.rows // self.side), -(-self.columns // self.side)

    @property
    def count(self) -> int:
        """Number n of cells."""
        rows, columns = self.shape
        return rows * columns

    def cells(self, positions: Tensor) -> Tensor:
        """The cell of each token position [...]."""
        row, column = positions // self.columns, positions % self.columns
        return row // self.side * self.shape[1] + column // self.side

    def corners(self, positions: Tensor) -> Tensor:
        """Which corner of its cell each token position [...] is, row-major, 0 .. side^2 - 1."""
        row, column = positions // self.columns, positions % self.columns
        return row % self.side * self.side + column % self.side

    def tokens(self, cells: Tensor) -> tuple[Tensor, Tensor]:
        """Positions of the tokens of cells [...]: [..., side^2], and whether they lie inside the grid."""
        inner = torch.arange(self.side, device=cells.device)
        row = (cells // self.shape[1])[..., None, None] * self.side + inner[:, None]  # [..., side, 1]
        column = (cells % self.shape[1])[..., None, None] * self.side + inner  # [..., 1, side]
        inside = (row < self.rows) & (column < self.columns)
        row, column = row.clamp(max=self.rows - 1), column.clamp(max=self.columns - 1)
        return (row * self.columns + column).flatten(-2), inside.flatten(-2)

    def any(self, flags: Tensor) -> Tensor:
        """Cells [B, n] in which any token [B, N] is true."""
        if self.side == 1:
            return flags
        found = torch.zeros(len(flags), self.count, dtype=torch.bool, device=flags.device)
        cells = self.cells(torch.arange(flags.shape[1], device=flags.device)).expand_as(flags)
        return found.to(torch.uint8).scatter_reduce(1, cells, flags.to(torch.uint8), "amax").bool()
