"""Attention maps of a probe as images, and whether they point at the object."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from mimgen.errors import UserError

# Dark blue to yellow in even steps of lightness (viridis), so that a grey print keeps the order.
_COLOURS = torch.tensor(
    [[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]], dtype=torch.float32
) / 255  # fmt: skip


@dataclass(frozen=True)
class PointingGame:
    """How often the highest point of a map lies on the object (Zhang et al., arXiv 1608.00507, section 4.1).

    Attributes:
        each: [K] share of images for each map of the probe.
        average: share for the mean over the maps.
        chance: mean share of the image that the object covers.
        n: images.
    """

    each: Tensor
    average: float
    chance: float
    n: int

    @property
    def best(self) -> int:
        """The map that hits most often. Choose it on other images than those that it is reported for."""
        return int(self.each.argmax())


def patch_maps(maps: Tensor, grid: tuple[int, int]) -> Tensor:
    """Maps [n, K, P + N] of prefix and patch tokens to those of the patches alone, [n, K, rows, columns].

    Raises:
        UserError: maps of another shape, fewer tokens than the grid has, or values that are not finite.
    """
    count = grid[0] * grid[1]
    if maps.ndim != 3 or maps.shape[2] < count:
        raise UserError(
            f"maps must be [n, K, N] with at least {count} tokens for the grid {grid}, got {list(maps.shape)}"
        )
    if not bool(maps.isfinite().all()):
        raise UserError("the maps hold NaN or infinity: the probe or its tokens have diverged")
    return maps[..., maps.shape[2] - count :].unflatten(2, grid)


def heatmap(values: Tensor, size: tuple[int, int]) -> Tensor:
    """Maps [n, h, w] as colours [n, 3, H, W] in [0, 1], each scaled from its least to its largest value.

    Enlarged bilinearly; a constant map is dark throughout.
    """
    large = F.interpolate(values[:, None].float(), size, mode="bilinear", align_corners=False)[:, 0]
    low, high = (edge[:, None, None] for edge in (large.flatten(1).amin(1), large.flatten(1).amax(1)))
    position = (large - low) / (high - low).clamp(min=1e-12) * (len(_COLOURS) - 1)
    step = position.long().clamp(max=len(_COLOURS) - 2)
    share = (position - step)[..., None]
    return ((1 - share) * _COLOURS[step] + share * _COLOURS[step + 1]).permute(0, 3, 1, 2)


def attention_images(
    images: Tensor, maps: Tensor, grid: tuple[int, int], query: int | None = None, strength: float = 0.6
) -> Tensor:
    """Images under their maps.

    Args:
        images: [n, 3, H, W] in [0, 1].
        maps: [n, K, N] of `ProbeHead.maps`, prefix tokens in front where the probe read them.
        grid: rows and columns of the patches.
        query: which of the K maps; None for their mean.
        strength: share of the colours of the map, from 0 to 1.

    Returns:
        [n, 3, H, W] in [0, 1].

    Raises:
        UserError: numbers of images and maps differ, or there is no such query.
    """
    planes = patch_maps(maps, grid)
    if len(images) != len(planes):
        raise UserError(f"{len(images)} images but maps of {len(planes)}: pass the same images to both")
    if query is not None and not 0 <= query < planes.shape[1]:
        raise UserError(f"query {query} does not exist: the probe has maps 0 to {planes.shape[1] - 1}")
    plane = planes.mean(1) if query is None else planes[:, query]
    height, width = images.shape[-2:]
    return (1 - strength) * images.float() + strength * heatmap(plane, (height, width))


def query_strips(images: Tensor, maps: Tensor, grid: tuple[int, int], maximum: int = 8) -> Tensor:
    """Each image followed by the mean of its maps and by single maps, side by side.

    Args:
        images: [n, 3, H, W] in [0, 1].
        maps: [n, K, N].
        grid: rows and columns of the patches.
        maximum: single maps shown; evenly chosen where there are more.

    Returns:
        [n, 3, H, W * (2 + min(K, most))] in [0, 1]; with a single map it stands alone, [n, 3, H, W * 2].
    """
    count = maps.shape[1]
    shown = torch.linspace(0, count - 1, min(count, maximum)).round().int().tolist() if count > 1 else []
    parts = [attention_images(images, maps, grid, query) for query in (None, *shown)]
    return torch.cat([images.float(), *parts], dim=3)


def pointing_game(maps: Tensor, grid: tuple[int, int], objects: Tensor) -> PointingGame:
    """Whether the centre of the patch with the largest weight lies on the object.

    Args:
        maps: [n, K, N].
        grid: rows and columns of the patches.
        objects: [n, H, W] boolean, true on the object; H and W multiples of rows and columns.

    Raises:
        UserError: shapes do not fit, or an image has no object.
    """
    planes = patch_maps(maps, grid)
    if objects.ndim != 3 or len(objects) != len(planes) or objects.shape[1] % grid[0] or objects.shape[2] % grid[1]:
        raise UserError(
            f"objects must be [{len(planes)}, H, W] with sides that divide into the grid {grid}, got "
            f"{list(objects.shape)}"
        )
    objects = objects.bool()
    empty = int((~objects.flatten(1).any(1)).sum())
    if empty:
        raise UserError(f"{empty} of {len(objects)} images show no object: leave them out of the pointing game")
    side = (objects.shape[1] // grid[0], objects.shape[2] // grid[1])
    centres = objects[:, side[0] // 2 :: side[0], side[1] // 2 :: side[1]].flatten(1)
    peaks = planes.flatten(2).argmax(2)
    average = centres.gather(1, planes.mean(1).flatten(1).argmax(1, keepdim=True))
    return PointingGame(
        each=centres.gather(1, peaks).double().mean(0),
        average=float(average.double().mean()),
        chance=float(objects.double().mean()),
        n=len(objects),
    )
