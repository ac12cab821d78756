"""How an image of any shape becomes a square, or a rectangle, of the asked size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from mimgen.data.memory import SCORE
from mimgen.errors import UserError

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["Cut", "Rectangle", "Square", "Transform"]


@dataclass(frozen=True)
class Square:
    """A transformed image.

    Attributes:
        image: [3, height, width] uint8.
        conditions: [5] float32: width and height of the original, left and top of the crop in
            pixels after resizing, score.
    """

    image: Tensor
    conditions: Tensor


class Cut(Protocol):
    """An image of any shape, and maybe a generator, to a `Square`."""

    def __call__(self, image: Image, generator: torch.Generator | None = None) -> Square: ...


@dataclass(frozen=True)
class Transform:
    """Resize the shorter side to `size`, then crop a square.

    Args:
        size: side of the square in pixels.
        random_crop: crop anywhere instead of in the centre, where a generator is given.
        flip: mirror half of the images, where a generator is given.

    Raises:
        UserError: size is not positive.
    """

    size: int
    random_crop: bool = False
    flip: bool = False

    def __post_init__(self) -> None:
        if self.size < 1:
            raise UserError(f"size {self.size} is not positive; pass the side in pixels, for example 64")

    @property
    def augments(self) -> bool:
        """Whether a generator makes a difference."""
        return self.random_crop or self.flip

    def __call__(self, image: Image, generator: torch.Generator | None = None) -> Square:
        """Transform an RGB image; without a generator the same square every time."""
        return _cut(image, self.size, self.size, self.random_crop, self.flip, generator)


@dataclass(frozen=True)
class Rectangle:
    """Resize until both sides reach `height` and `width`, then crop what juts out.

    Args:
        height: in pixels.
        width: in pixels.
        random_crop: crop anywhere instead of in the centre, where a generator is given.
        flip: mirror half of the images, where a generator is given.
    """

    height: int
    width: int
    random_crop: bool = False
    flip: bool = False

    def __call__(self, image: Image, generator: torch.Generator | None = None) -> Square:
        """Transform an RGB image; without a generator the same rectangle every time."""
        return _cut(image, self.height, self.width, self.random_crop, self.flip, generator)


def _cut(
    pil_image: Image, height: int, width: int, random_crop: bool, flip: bool, generator: torch.Generator | None
) -> Square:
    import numpy as np
    from PIL import Image

    across, down = pil_image.size
    # the largest box of the asked shape: of a square, the shorter side
    wide, high = (across, across * height / width) if across * height <= down * width else (down * width / height, down)
    corner = torch.full((2,), 0.5)
    if generator is not None and random_crop:
        corner = torch.rand(2, generator=generator)
    left, top = (corner * torch.tensor([across - wide, down - high])).round().int().tolist()
    left, top = min(left, across - wide), min(top, down - high)  # of a box with fractions, rounding may jut out
    # Cropping inside `resize` reads only the box; the result is that of resizing first.
    box = (left, top, left + wide, top + high)
    small = pil_image.resize((width, height), Image.Resampling.LANCZOS, box=box)
    image = torch.from_numpy(np.array(small)).permute(2, 0, 1).contiguous()
    if generator is not None and flip and bool(torch.rand((), generator=generator) < 0.5):
        image = image.flip(-1)
    scale = width / wide
    return Square(image, torch.tensor([across, down, left * scale, top * scale, SCORE]))
