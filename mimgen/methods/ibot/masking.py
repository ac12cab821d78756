"""Block masks with a random share of masked patches, which differs from image to image (iBOT)."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from mimgen.errors import UserError
from mimgen.masking.block import grown, rectangles
from mimgen.types import Mask, SampleRNG

ROUNDS = 10  # rectangles that one row gets at most
TRIES = 10  # of which one must fit


@dataclass(frozen=True)
class VariedBlock:
    """Overlapping rectangles up to a share r of the patches; rows mask different numbers, at most floor(r N).

    A rectangle has an area uniform between floor(shorter side / 3)^2 and what is still missing. A row ends when ten
    tries in a row do not fit, so it may stop short.

    Attributes:
        ratio: least and largest share r, which is uniform between them.
        chance: of an image to be masked at all; iBOT leaves half of the crops whole.
        aspect: smallest height over width of a rectangle; the largest is its inverse.

    Raises:
        UserError: a share outside 0..1.
    """

    ratio: tuple[float, float] = (0.1, 0.5)
    chance: float = 0.5
    aspect: float = 0.3

    def __post_init__(self) -> None:
        if not (0 <= self.ratio[0] <= self.ratio[1] <= 1 and 0 <= self.chance <= 1):
            raise UserError(f"ratio {self.ratio} and chance {self.chance}: choose shares of 0 to 1")

    def __call__(self, grid: tuple[int, int], rng: SampleRNG) -> Mask:
        """Mask [B, N] of a grid of rows and columns, without index form."""
        sampled = rng.uniform(2)
        share = self.ratio[0] + (self.ratio[1] - self.ratio[0]) * sampled[:, 0]
        wanted = torch.where(sampled[:, 1] < self.chance, share * grid[0] * grid[1], 0)
        masked = torch.zeros(len(rng), *grid, dtype=torch.bool)
        failed, minimum = torch.zeros(len(rng)), (min(grid) // 3) ** 2
        for tries in rng.uniform(ROUNDS * TRIES, 4).unbind(1):
            missing = wanted - masked.sum((1, 2))
            going = (missing > 0) & (failed < TRIES)
            if not bool(going.any()):
                break
            missing = torch.where(going, missing, 0)
            before, masked = masked, grown(masked, rectangles(tries, missing, grid, minimum, self.aspect), missing)
            failed = torch.where((masked & ~before).any((1, 2)), 0, failed + 1)
        return Mask(masked.flatten(1))
