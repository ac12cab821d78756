"""AttMask: iBOT with the teacher's attention choosing what to mask (arXiv 2203.12719)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from mimgen.errors import UserError
from mimgen.methods.base import grid_of
from mimgen.methods.ibot.objective import IBOT, IBOTOutput
from mimgen.papers import Paper
from mimgen.types import Mask, SampleRNG

PAPER = Paper(
    slug="attmask",
    title="What to Hide from Your Students: Attention-Guided Masked Image Modeling",
    arxiv="2203.12719",
    kind="reconstruct",
    cases=("attmask",),
    config="pretrain/attmask",
    result="emoji, 16 steps, 2 seeds, equal cost: k-NN 36.5 %, linear 48.0 % (random 36.7, 47.9 %)",
)

Mode = Literal["high", "low", "hints"]


def class_attention(maps: Tensor) -> Tensor:
    """What the class token attends to: [B, H, 1 + N, 1 + N] to [B, N], the mean over heads, without gradient."""
    return maps[:, :, 0, 1:].mean(1).detach()


@dataclass(frozen=True)
class AttentionMasking:
    """Mask the most attended patches ("high"), the least ("low"), or the most but for hints (AttMask, section 3.2).

    An image is left whole with probability 1 - `chance`. The others mask floor(r N) patches, r uniform in `ratio`.
    Hints: of the floor(`pool` N) most attended patches, floor(`pool` r' N) sampled at random are shown, r'
    another sample of `ratio`; one of them may have been visible before where r is less than `pool`.

    Attributes:
        mode: "high", "low" or "hints".
        ratio: least and largest share r of masked patches.
        pool: share of the patches that hints are sampled from.
        chance: of an image to be masked at all.
        shared: all images of a batch have the same r and r', those of the first; else each has its own.

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

    def __call__(self, grid: tuple[int, int], rng: SampleRNG, guide: Tensor) -> Mask:
        """Mask [B, N] of a grid of rows and columns.

        Args:
            grid: rows and columns.
            rng: one stream per image.
            guide: [B, N], higher where the teacher attends more.

        Raises:
            UserError: a guide of another grid or of other images.
        """
        patches = grid[0] * grid[1]
        if guide.shape != (len(rng), patches):
            raise UserError(
                f"the guide must be [{len(rng)}, {patches}], one score per patch, got {list(guide.shape)}: "
                "score the same images on the same grid"
            )
        numbers = rng.uniform(3 + patches)
        shares = self.ratio[0] + (self.ratio[1] - self.ratio[0]) * numbers[:, :2].double()
        if self.shared:
            shares = shares[:1].expand_as(shares)
        return self.choose(guide, shares[:, 0], self.pool * shares[:, 1], numbers[:, 2], numbers[:, 3:])

    def choose(self, guide: Tensor, share: Tensor, shown: Tensor, chances: Tensor, keys: Tensor) -> Mask:
        """The same for chosen random numbers.

        Args:
            guide: [B, N].
            share: [B] float64, r of each image.
            shown: [B] float64, share of all patches that is shown as hints; `pool` r' in training.
            chances: [B] in [0, 1); an image above `chance` is left whole.
            keys: [B, N]; hints are those with the smallest keys.
        """
        device, patches = guide.device, guide.shape[1]
        # counts are exact with ranks, and a threshold would not be where scores tie
        ranks = guide.argsort(dim=1, descending=True, stable=True).argsort(dim=1)
        count = _rounded(share, patches).to(device)
        masked = ranks >= patches - count if self.mode == "low" else ranks < count
        if self.mode == "hints":
            outside = ranks >= math.floor(self.pool * patches)
            order = keys.to(device).masked_fill(outside, math.inf).argsort(dim=1).argsort(dim=1)
            masked = masked & ((order >= _rounded(shown, patches).to(device)) | outside)
        return Mask(masked & (chances.to(device) <= self.chance)[:, None])


def _rounded(share: Tensor, patches: int) -> Tensor:
    """floor(share N) as a column [B, 1]."""
    return torch.floor(share * patches).long()[:, None]


class AttMask(IBOT):
    """iBOT with a masking that takes a guide, such as `AttentionMasking` (AttMask, section 3.2).

    Masked: the patches of a large crop that the class token attends to most (or least) in the teacher's last block,
    averaged over heads, and nothing of half of the crops. What takes their place, who sees it, targets and loss are
    those of iBOT, and so are the arguments.
    """

    asks_attention = True

    def mask_crops(self, crops: Tensor, teacher: IBOTOutput, rng: SampleRNG) -> Mask:
        """The mask [B, N] of crops [B, 3, S, S], by what the teacher attends to in each."""
        assert teacher.attention is not None, "asked for"
        mask: Mask = self.masking(grid_of(crops, self.student.encoder.patch), rng, class_attention(teacher.attention))
        return mask
