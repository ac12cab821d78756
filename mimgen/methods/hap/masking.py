"""Masks guided by parts: patches of some parts of a body are masked before all others (HAP, arXiv 2310.20695)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mimgen.errors import UserError
from mimgen.masking.block import Block
from mimgen.masking.random import largest
from mimgen.types import Mask, SampleRNG

# joints of COCO's order at the ends of the bones of each part
BODY = (
    ((0, 1), (0, 2), (1, 2), (1, 3), (2, 4)),  # face: nose, eyes, ears
    ((5, 7), (7, 9)),  # left arm
    ((6, 8), (8, 10)),  # right arm
    ((11, 13), (13, 15)),  # left leg
    ((12, 14), (14, 16)),  # right leg
    ((5, 12), (6, 11)),  # trunk: each shoulder with the other side's hip
)
_FIRST = 100.0  # priority of the part that comes first; those of noise and blocks lie below 4


@dataclass(frozen=True)
class Parts:
    """A fixed share of masked patches; random patches of random parts come first (HAP, section 3.2).

    Each image samples how many parts are used, 0 to `maximum`, and their order; parts without patches are passed
    over. Of a used part's patches a random share of up to `share` is masked before everything else, the first
    part's before the second's; so what is guided changes the choice of the masked patches, never their number.

    Attributes:
        ratio: share of masked patches.
        maximum: largest number of parts used; 0 for none.
        share: largest share of a part's patches that comes first.
        blocks: what else is masked lies in blocks (BEiT), as in HAP's recipe; otherwise anywhere.
        minimum: smallest area of a block.

    Raises:
        UserError: a share outside 0..1 or a negative number of parts.
    """

    ratio: float = 0.5
    maximum: int = 6
    share: float = 0.3
    blocks: bool = True
    minimum: int = 12

    def __post_init__(self) -> None:
        if not (0 < self.ratio < 1 and 0 <= self.share <= 1) or self.maximum < 0:
            raise UserError(f"{self}: ratio lies between 0 and 1, share in 0..1, most is 0 or more")

    def __call__(self, grid: tuple[int, int], rng: SampleRNG, guide: Tensor) -> Mask:
        """Mask [B, N] of a grid of rows and columns; arguments and errors are those of `priorities`."""
        return by_priority(self.priorities(grid, rng, guide), self.ratio)

    def priorities(self, grid: tuple[int, int], rng: SampleRNG, guide: Tensor) -> Tensor:
        """[B, N]: the patches of highest priority are masked.

        Args:
            grid: rows and columns.
            rng: one stream per row.
            guide: [B, P, N] boolean, the patches of each part; see `part_patches`.

        Raises:
            UserError: a guide of another grid or of other images, or everything would be masked.
        """
        patches = grid[0] * grid[1]
        if guide.ndim != 3 or guide.shape[0] != len(rng) or guide.shape[2] != patches:
            raise UserError(
                f"the map of parts must be [{len(rng)}, P, {patches}], got {list(guide.shape)}: make it for the same "
                "images on the same grid"
            )
        masked = patches - visible_count(patches, self.ratio)
        if masked == patches:
            raise UserError(f"mask ratio {self.ratio} masks all {patches} patches of an image: choose a smaller one")
        priority = rng.uniform(patches)
        if self.blocks:
            inside = Block(masked, min(self.minimum, masked))(grid, rng).masked
            priority = priority + 2 * inside
        return torch.maximum(priority, self.first(guide.cpu(), rng))

    def first(self, guide: Tensor, rng: SampleRNG) -> Tensor:
        """[B, N] priority of the patches of parts [B, P, N] that come first, 0 at all others."""
        parts, patches = guide.shape[1:]
        sizes = guide.sum(2)
        order = rng.uniform(parts).masked_fill(sizes == 0, 2).argsort(1)
        number = (rng.uniform(1) * (self.maximum + 1)).floor()
        # rank of each part among those that have patches; empty ones are last and take no place
        rank = order.argsort(1)
        used = (rank < number) & (sizes > 0)
        count = (sizes * self.share * rng.uniform(parts)).floor()
        keys = rng.uniform(parts, patches).masked_fill(~guide, 2)
        chosen = (keys.argsort(2).argsort(2) < count[..., None]) & used[..., None]
        return ((_FIRST - rank)[..., None] * chosen).amax(1)


def visible_count(patches: int, ratio: float) -> int:
    """Patches that stay visible: patches (1 - ratio), rounded down."""
    return int(patches * (1 - ratio))


def by_priority(priority: Tensor, ratio: float) -> Mask:
    """Mask the patches of highest priority [B, N]; of equal ones the later first."""
    patches = priority.shape[1]
    return Mask(largest(priority, patches - visible_count(patches, ratio)))


def part_patches(
    keypoints: Tensor,
    grid: tuple[int, int],
    patch: int,
    parts: tuple[tuple[tuple[int, int], ...], ...] = BODY,
) -> Tensor:
    """Which patches belong to which part: all that the upright rectangle between a bone's two joints touches.

    Args:
        keypoints: [B, J, 3] column and row in pixels, and 1 where the joint was seen; a bone with a joint that was
            not seen is left out, of one that reaches out of the image the inner part counts.
        grid: rows and columns of patches.
        patch: side of a patch in pixels.
        parts: the bones of each part, as pairs of joints.

    Returns:
        [B, P, N] boolean.

    Raises:
        UserError: fewer joints than the parts name.
    """
    joints = 1 + max(joint for bones in parts for bone in bones for joint in bone)
    if keypoints.ndim != 3 or keypoints.shape[1] < joints or keypoints.shape[2] != 3:
        raise UserError(f"keypoints {list(keypoints.shape)}: these parts need [B, {joints}, 3] (column, row, seen)")
    cells = (keypoints[..., :2] / patch).floor()
    seen = keypoints[..., 2] > 0
    ends = torch.tensor([bone for bones in parts for bone in bones], device=keypoints.device)
    low, high = cells[:, ends].amin(2), cells[:, ends].amax(2)
    columns = _between(torch.arange(grid[1], device=keypoints.device), low[..., 0], high[..., 0])
    rows = _between(torch.arange(grid[0], device=keypoints.device), low[..., 1], high[..., 1])
    covered = (rows[..., :, None] & columns[..., None, :]).flatten(2) & seen[:, ends].all(2)[..., None]
    groups = covered.split([len(bones) for bones in parts], dim=1)
    return torch.stack([group.any(1) for group in groups], dim=1)


def _between(positions: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """[B, bones, n] boolean: low <= place <= high for limits [B, bones]."""
    return (positions >= low[..., None]) & (positions <= high[..., None])
