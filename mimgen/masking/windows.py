"""One visible patch in every window of 2 x 2: random, but evenly spread (UM-MAE)."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from mimgen.errors import UserError
from mimgen.types import Draws, Mask


@dataclass(frozen=True)
class Windows:
    """Every window of `side` x `side` patches keeps one, each of them equally likely; the others are hidden.

    With 2 the share hidden is 3/4 as in MAE, and the visible patches are again a grid of half the side, so encoders
    with local windows can read them as a smaller picture. Li et al., "Uniform Masking: Enabling MAE Pre-training for
    Pyramid-based Vision Transformers with Locality" (arXiv 2205.10063), the uniform sampling of section 3; its
    second step, mask tokens among the visible patches, is not here.

    Attributes:
        side: of a window, in patches.

    Raises:
        UserError: windows of less than 2 patches a side.
    """

    side: int = 2

    def __post_init__(self) -> None:
        if self.side < 2:
            raise UserError(f"windows of side {self.side} hide nothing: choose at least 2 patches")

    def __call__(self, grid: tuple[int, int], draws: Draws) -> Mask:
        """Mask [B, N] of a grid of rows and columns.

        Raises:
            UserError: the grid does not divide into windows.
        """
        rows, columns = grid[0] // self.side, grid[1] // self.side
        if (rows * self.side, columns * self.side) != tuple(grid):
            raise UserError(f"a grid of {grid[0]} x {grid[1]} patches does not divide into windows of {self.side}: "
                            f"choose pictures with a multiple of {self.side} patches a side")  # fmt: skip
        kept = draws.uniform(rows * columns, self.side**2).argmax(-1, keepdim=True)
        hidden = torch.ones(len(draws), rows * columns, self.side**2, dtype=torch.bool).scatter_(2, kept, False)
        cells = hidden.unflatten(2, (self.side, self.side)).unflatten(1, (rows, columns))
        return Mask(cells.transpose(2, 3).flatten(1))
