"""One visible patch in every window of 2 x 2: random, but evenly spread (UM-MAE)."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from mimgen.errors import UserError
from mimgen.masking.random import unit_grid
from mimgen.types import Mask, SampleRNG


@dataclass(frozen=True)
class Windows:
    """Every window of `side` x `side` patches keeps one, each of them equally likely; the others are masked.

    With 2 the share masked is 3/4 as in MAE, and the visible patches are again a grid of half the side, so encoders
    with local windows can read them as a smaller image. Li et al., "Uniform Masking: Enabling MAE Pre-training for
    Pyramid-based Vision Transformers with Locality" (arXiv 2205.10063), the uniform sampling of section 3; its
    second step, mask tokens among the visible patches, is not here.

    Attributes:
        side: of a window, in patches.

    Raises:
        UserError: windows of less than 2 patches per side.
    """

    side: int = 2

    def __post_init__(self) -> None:
        if self.side < 2:
            raise UserError(f"windows of side {self.side} mask nothing: choose at least 2 patches")

    def __call__(self, grid: tuple[int, int], rng: SampleRNG) -> Mask:
        """Mask [B, N] of a grid of rows and columns.

        Raises:
            UserError: the grid does not divide into windows.
        """
        rows, columns = unit_grid(grid, self.side, noun="windows")
        kept = rng.uniform(rows * columns, self.side**2).argmax(-1, keepdim=True)  # [B, windows, 1]
        masked = torch.ones(len(rng), rows * columns, self.side**2, dtype=torch.bool).scatter_(2, kept, False)
        cells = masked.unflatten(2, (self.side, self.side)).unflatten(1, (rows, columns))
        return Mask(cells.transpose(2, 3).flatten(1))
