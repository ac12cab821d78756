"""Masks that follow a teacher's attention: hide what it looks at most, or least (AttMask)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from mimgen.errors import UserError
from mimgen.types import Draws, Mask

Mode = Literal["high", "low", "hints"]


def class_attention(maps: Tensor) -> Tensor:
    """What the class token attends to: [B, H, 1 + N, 1 + N] to [B, N], the mean over heads, without gradient."""
    return maps[:, :, 0, 1:].mean(1).detach()


@dataclass(frozen=True)
class AttentionMasking:
    """Hide the most attended patches ("high"), the least ("low"), or the most but for hints (AttMask, section 3.2).

    A picture is left whole with probability 1 - `chance`. The others hide floor(r N) patches, r uniform in `ratio`.
    Hints: of the floor(`pool` N) most attended patches, floor(`pool` r' N) drawn at random are shown, r' another draw
    of `ratio`; one of them may have been visible before where r is less than `pool`.

    Attributes:
        mode: "high", "low" or "hints".
        ratio: least and largest share r of hidden patches.
        pool: share of the patches that hints are drawn from.
        chance: of a picture to be masked at all.
        shared: all pictures of a batch have the same r and r', those of the first; else each has its own.

    Raises:
        UserError: an unknown mode, or a share outside 0..1.
    """

    mode: Mode = "high"
    ratio: tuple[float, float] = (0.1, 0.5)
    pool: float = 0.1
    chance: float = 0.5
    shared: bool = True

    def __post_init__(self) -> None:
        if self.mode not in get_args(Mode):
            raise UserError(f"mode {self.mode!r} is unknown: choose {', '.join(get_args(Mode))}")
        if not (0 <= self.ratio[0] <= self.ratio[1] <= 1 and 0 <= self.pool <= 1 and 0 <= self.chance <= 1):
            raise UserError(f"ratio {self.ratio}, pool {self.pool} and chance {self.chance}: choose shares of 0 to 1")

    def __call__(self, grid: tuple[int, int], draws: Draws, guide: Tensor) -> Mask:
        """Mask [B, N] of a grid of rows and columns.

        Args:
            grid: rows and columns.
            draws: one stream a picture.
            guide: [B, N], higher where the teacher attends more.

        Raises:
            UserError: a guide of another grid or of other pictures.
        """
        patches = grid[0] * grid[1]
        if guide.shape != (len(draws), patches):
            raise UserError(
                f"the guide must be [{len(draws)}, {patches}], one score a patch, got {list(guide.shape)}: "
                "score the same pictures on the same grid"
            )
        numbers = draws.uniform(3 + patches)
        shares = self.ratio[0] + (self.ratio[1] - self.ratio[0]) * numbers[:, :2].double()
        if self.shared:
            shares = shares[:1].expand_as(shares)
        return self.choose(guide, shares[:, 0], self.pool * shares[:, 1], numbers[:, 2], numbers[:, 3:])

    def choose(self, guide: Tensor, share: Tensor, shown: Tensor, chances: Tensor, keys: Tensor) -> Mask:
        """The same for chosen random numbers.

        Args:
            guide: [B, N].
            share: [B] float64, r of each picture.
            shown: [B] float64, share of all patches that is shown as hints; `pool` r' in training.
            chances: [B] in [0, 1); a picture above `chance` is left whole.
            keys: [B, N]; hints are those with the smallest keys.
        """
        device, patches = guide.device, guide.shape[1]
        # counts are exact with ranks, and a threshold would not be where scores tie
        ranks = guide.argsort(dim=1, descending=True, stable=True).argsort(dim=1)
        count = _whole(share, patches).to(device)
        hidden = ranks >= patches - count if self.mode == "low" else ranks < count
        if self.mode == "hints":
            outside = ranks >= math.floor(self.pool * patches)
            order = keys.to(device).masked_fill(outside, math.inf).argsort(dim=1).argsort(dim=1)
            hidden = hidden & ((order >= _whole(shown, patches).to(device)) | outside)
        return Mask(hidden & (chances.to(device) <= self.chance)[:, None])


def _whole(share: Tensor, patches: int) -> Tensor:
    """floor(share N) as a column [B, 1]."""
    return torch.floor(share * patches).long()[:, None]
