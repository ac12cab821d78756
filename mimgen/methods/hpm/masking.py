"""Masks that mask what is hard: the patches with the highest score for sure, others at random (HPM)."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from mimgen.errors import UserError
from mimgen.masking.random import Random, largest
from mimgen.types import Mask, SampleRNG

# Products such as 75 * 0.36 may come out a hair below the whole number that is meant.
_SLACK = 1e-9


@dataclass(frozen=True)
class Hard:
    """ceil(ratio * N) masked patches in each row, floor(share * masked) of them those of the highest score.

    Attributes:
        ratio: share of masked patches; 0.75 in HPM (section 4.1).
        share: of the masked patches, those that the score chooses; 0 is a random mask. HPM lets it grow from 0 to
            0.5 (section 3.3, equation 6); at 1 nothing is left to chance, which hurts.

    Raises:
        UserError: a ratio that masks nothing or everything, or a share outside 0..1.
    """

    ratio: float = 0.75
    share: float = 0.5

    def __post_init__(self) -> None:
        Random(self.ratio)
        if not 0 <= self.share <= 1:
            raise UserError(f"share {self.share} of hard patches: choose one between 0 and 1")

    def __call__(self, grid: tuple[int, int], rng: SampleRNG, guide: Tensor) -> Mask:
        """Mask [B, N] of a grid of rows and columns.

        Args:
            grid: rows and columns.
            rng: of the patches that are not chosen by their score.
            guide: [B, N] scores, higher is harder.

        Raises:
            UserError: another number of scores than of patches, or everything would be masked.
        """
        patches = grid[0] * grid[1]
        if guide.shape != (len(rng), patches):
            raise UserError(
                f"the guide must be [{len(rng)}, {patches}], one score per patch, got {list(guide.shape)}: "
                "score the same images on the same grid"
            )
        count = math.ceil(self.ratio * patches - _SLACK)
        if count >= patches:
            raise UserError(f"mask ratio {self.ratio} masks all {patches} patches of an image: choose a smaller one")
        hard = math.floor(self.share * count + _SLACK)
        return Mask(hardest(guide, rng.uniform(patches).to(guide.device), count, hard))


def hardest(scores: Tensor, noise: Tensor, count: int, hard: int) -> Tensor:
    """`count` patches of each row as a boolean set [B, N]: the `hard` highest of the scores, then of the noise.

    Args:
        scores: [B, N] real numbers.
        noise: [B, N] finite real numbers.
        count: patches of a row in the set.
        hard: how many of them the score chooses, at most `count`.
    """
    return largest(noise.masked_fill(largest(scores, hard), float("inf")), count)
