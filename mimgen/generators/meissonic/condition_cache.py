"""What a text-conditional generator computes once per image."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor

from mimgen.generators.meissonic.cells import CellGrid


@dataclass(frozen=True)
class ConditionCache:
    """What of the conditions is the same in every step of an image.

    Attributes:
        text: [B, T, D] embedded text states.
        vector: [B, D] embedded pooled text and micro-conditions: the conditioning vector without the progress.
        table: cosines and sines [T + n, D / H] of the text and of the n trunk cells.
        grid: the tokens and the cells that they lie in.
        positions: [1, D, h, w] learned positions of the tokens, or None.
    """

    text: Tensor
    vector: Tensor
    table: tuple[Tensor, Tensor]
    grid: CellGrid
    places: Tensor | None = None

    def head(self, rows: int) -> ConditionCache:
        """The first rows of the batch."""
        return replace(self, text=self.text[:rows], vector=self.vector[:rows])
