"""The images of the scene set: coloured shapes on a plain ground, sampled from their definitions.

Geometry is in shares of the image's side: x to the right, y downwards, both in [0, 1].
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from mimgen.errors import UserError

__all__ = ["COLOURS", "GROUNDS", "SHAPES", "SMALLEST", "Form", "Scene", "Thing", "coverage", "render", "segmentation"]

SMALLEST = 32  # pixels; below this the hole of a ring is gone
_FINE = 8  # samples of a pixel in each direction

# colours whose directions from every ground differ, so that a pixel half covered predicts its colour too
COLOURS = {
    "red": (0.85, 0.12, 0.12),
    "yellow": (0.95, 0.80, 0.05),
    "green": (0.10, 0.60, 0.15),
    "cyan": (0.05, 0.75, 0.80),
    "blue": (0.12, 0.25, 0.85),
    "purple": (0.60, 0.15, 0.70),
}
GROUNDS = {"white": (1.0, 1.0, 1.0), "grey": (0.80, 0.80, 0.80), "black": (0.04, 0.04, 0.04)}

_INNER = 0.55  # radius of a ring's hole
_HALF = 0.9  # half the side of a square
_ARM = 1 / 3  # half the width of a cross's arms


@dataclass(frozen=True)
class Form:
    """A shape of radius 1 around the origin, inside the box [-1, 1] x [-1, 1].

    Attributes:
        covers: (x, y) -> boolean of the same shape, where the shape is.
        area: its area.
        rise: y of its centre of mass, downwards.
    """

    covers: Callable[[Tensor, Tensor], Tensor]
    area: float
    rise: float = 0.0


SHAPES = {
    "circle": Form(lambda x, y: x**2 + y**2 <= 1, torch.pi),
    "square": Form(lambda x, y: torch.maximum(x.abs(), y.abs()) <= _HALF, 4 * _HALF**2),
    "triangle": Form(lambda x, y: (x.abs() <= (y + 1) / 2) & (y <= 1), 2.0, 1 / 3),
    "diamond": Form(lambda x, y: x.abs() + y.abs() <= 1, 2.0),
    "cross": Form(
        lambda x, y: (torch.minimum(x.abs(), y.abs()) <= _ARM) & (torch.maximum(x.abs(), y.abs()) <= 1),
        8 * _ARM - 4 * _ARM**2,
    ),
    "ring": Form(lambda x, y: (x**2 + y**2 <= 1) & (x**2 + y**2 >= _INNER**2), torch.pi * (1 - _INNER**2)),
}


@dataclass(frozen=True)
class Thing:
    """One object: its shape, colour, centre and radius, the last three in shares of the side."""

    shape: str
    colour: str
    x: float
    y: float
    radius: float


@dataclass(frozen=True)
class Scene:
    """Objects on a ground; they neither touch one another nor the border."""

    things: tuple[Thing, ...]
    ground: str = "white"


def coverage(shape: str, x: float, y: float, radius: float, size: int) -> Tensor:
    """[size, size] float32 in [0, 1]: how much of each pixel a shape covers, by 8 x 8 samples a pixel.

    Args:
        shape: a name of `SHAPES`.
        x: centre, as a share of the side; the shape may leave the image.
        y: centre, downwards.
        radius: as a share of the side, positive.
        size: side of the image in pixels.
    """
    image = torch.zeros(size, size)
    first_x, last_x = _pixels(x - radius, x + radius, size)
    first_y, last_y = _pixels(y - radius, y + radius, size)
    if first_x >= last_x or first_y >= last_y:
        return image
    columns = (_samples(first_x, last_x) / size - x) / radius
    rows = (_samples(first_y, last_y) / size - y) / radius
    inside = SHAPES[shape].covers(columns[None, :], rows[:, None]).float()
    blocks = inside.reshape(last_y - first_y, _FINE, last_x - first_x, _FINE)
    image[first_y:last_y, first_x:last_x] = blocks.mean((1, 3))
    return image


def render(scene: Scene, size: int) -> Tensor:
    """[3, size, size] uint8: the image of a scene.

    Args:
        scene: what to sample.
        size: side in pixels, at least 32.

    Raises:
        UserError: the image would be too small for its shapes to be told apart.
    """
    if size < SMALLEST:
        raise UserError(f"size {size}: shapes of the scene set need {SMALLEST} pixels or more")
    image = torch.tensor(GROUNDS[scene.ground])[:, None, None].expand(3, size, size)
    for thing in scene.things:
        share = coverage(thing.shape, thing.x, thing.y, thing.radius, size)
        image = image + share * (torch.tensor(COLOURS[thing.colour])[:, None, None] - image)
    return (image * 255).round().byte()


def segmentation(scene: Scene, size: int) -> Tensor:
    """[size, size] int64: 0 on the ground, else 1 + the place in `SHAPES` of what covers half of the pixel or more."""
    names = list(SHAPES)
    found = torch.zeros(size, size, dtype=torch.int64)
    for thing in scene.things:
        inside = coverage(thing.shape, thing.x, thing.y, thing.radius, size) >= 0.5
        found[inside] = 1 + names.index(thing.shape)
    return found


def _pixels(low: float, high: float, size: int) -> tuple[int, int]:
    """The pixels, first and one past the last, that an interval of shares touches."""
    return max(0, int(low * size)), min(size, int(high * size) + 1)


def _samples(first: int, last: int) -> Tensor:
    """Positions of the samples of pixels first .. last - 1, in pixels."""
    return first + (torch.arange((last - first) * _FINE, dtype=torch.float64) + 0.5) / _FINE
