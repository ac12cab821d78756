"""Reads a scene back from its pixels alone: the objects with their shapes, colours and positions.

It measures and fits, and has no weights. On images of the scene set it is exact; on generated
ones it allows for noise, wrong shades and soft edges.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from mimgen.data.builtin.scene_images import COLOURS, SHAPES, coverage
from mimgen.evaluation.descriptor import check_images

__all__ = ["MIN_FIT", "SMALLEST_AREA", "DetectedObject", "read_scene", "read_scenes"]

MIN_FIT = 0.75  # overlap with the best shape, below which a thing has no shape of the set
SMALLEST_AREA = 0.004  # share of the image; smaller specks are overlooked, things of the set have 0.020
_COVERED = 0.5  # a pixel belongs to a thing that covers so much of it
_CONTRAST = 0.15  # a pixel nearer to the ground than this is ground, whatever its hue


@dataclass(frozen=True)
class DetectedObject:
    """One object as it was read.

    Attributes:
        shape: a name of `SHAPES`; None where none fits.
        colour: the nearest name of `COLOURS`.
        x: centre in shares of the side.
        y: centre, downwards.
        radius: in shares of the side.
        fit: overlap in [0, 1] of the thing with the fitted shape (sum of minima over sum of maxima).
    """

    shape: str | None
    colour: str
    x: float
    y: float
    radius: float
    fit: float


def read_scenes(images: Tensor) -> list[tuple[DetectedObject, ...]]:
    """The objects of each image.

    Args:
        images: [n, 3, S, S] in [0, 1].

    Raises:
        UserError: not images, or values that are not finite or outside [0, 1].
    """
    check_images(images, "scenes")
    return [read_scene(image) for image in images.detach().float().cpu()]


def read_scene(image: Tensor) -> tuple[DetectedObject, ...]:
    """The objects of one image [3, S, S] in [0, 1], in reading order of their first pixels."""
    border = torch.cat([image[:, 0], image[:, -1], image[:, :, 0], image[:, :, -1]], 1)
    ground = border.median(1).values
    share, colour = _unmix(image - ground[:, None, None], ground)
    solid = (colour == torch.arange(len(COLOURS))[:, None, None]) & (share >= _COVERED)
    things = []
    for name, region in _pieces(solid):
        # edges belong to the thing too: pixels beside it that it covers in part, whatever hue they got
        around = F.max_pool2d(region[None].float(), 3, 1, 1)[0]
        things.append(
            (int(region.flatten().int().argmax()), _fitted(_refined(image, ground, region) * around, name))
        )
    return tuple(detected for _, detected in sorted(things, key=lambda pair: pair[0]))


def _unmix(offset: Tensor, ground: Tensor) -> tuple[Tensor, Tensor]:
    """Explain each pixel as ground + share * (colour - ground) with the colour that leaves least over.

    Args:
        offset: [3, S, S] image minus ground.
        ground: [3].

    Returns:
        [S, S] share in [0, 1] and [S, S] number of the colour.
    """
    directions = torch.tensor(list(COLOURS.values())) - ground
    share = torch.einsum("kc,chw->khw", directions, offset) / directions.square().sum(1)[:, None, None]
    share = share.clamp(0, 1)
    rest = (offset[None] - share[:, None] * directions[:, :, None, None]).square().sum(1)
    colour = rest.argmin(0)
    best = share.gather(0, colour[None])[0]
    return best * (offset.square().sum(0).sqrt() >= _CONTRAST), colour


def _refined(image: Tensor, ground: Tensor, region: Tensor) -> Tensor:
    """[S, S] share of each pixel that the thing at `region` covers, by the thing's own measured shade."""
    shade = image[:, region].median(1).values - ground
    share = torch.einsum("c,chw->hw", shade, image - ground[:, None, None]) / shade.square().sum().clamp(
        min=1e-6
    )
    return share.clamp(0, 1)


def _pieces(solid: Tensor) -> Iterator[tuple[str, Tensor]]:
    """The connected pieces (by sides) of each colour, specks left out.

    Args:
        solid: [colours, S, S] boolean.

    Returns:
        name of the colour and [S, S] boolean, piece by piece.
    """
    # every pixel takes the largest number beside it until none changes: one number a piece is left
    inside = solid.float()
    labels = torch.arange(1, solid.numel() + 1, dtype=torch.float64).view_as(solid) * solid
    while True:
        wide = F.max_pool2d(labels, (1, 3), 1, (0, 1)) * inside
        dilated = F.max_pool2d(wide, (3, 1), 1, (1, 0)) * inside
        if torch.equal(dilated, labels):
            break
        labels = dilated
    numbers, counts = labels.unique(return_counts=True)
    minimum = max(2.0, SMALLEST_AREA * solid[0].numel())
    for number, count in zip(numbers.tolist(), counts.tolist(), strict=True):
        if number and count >= minimum:
            found = labels == number
            kind = int(found.flatten(1).any(1).int().argmax())
            yield list(COLOURS)[kind], found[kind]


def _fitted(alpha: Tensor, colour: str) -> DetectedObject:
    """The shape that overlaps best when it is given the thing's own area and centre of mass.

    Args:
        alpha: [S, S] share of each pixel that the thing covers.
        colour: its name.
    """
    size = alpha.shape[-1]
    area = float(alpha.sum())
    steps = torch.arange(size) + 0.5
    across, down = (float((alpha.sum(axis) * steps).sum()) / area / size for axis in (0, 1))
    found = []
    for name, form in SHAPES.items():
        radius = (area / form.area) ** 0.5 / size
        x, y = across, down - form.rise * radius
        ideal = coverage(name, x, y, radius, size)
        fit = float(torch.minimum(alpha, ideal).sum() / torch.maximum(alpha, ideal).sum())
        found.append(DetectedObject(name, colour, x, y, radius, fit))
    best = max(found, key=lambda detected: detected.fit)
    return best if best.fit >= MIN_FIT else DetectedObject(None, colour, across, down, best.radius, best.fit)
