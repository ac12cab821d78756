"""How a picture of any shape becomes a square of the asked size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mimgen.data.memory import SCORE
from mimgen.errors import UserError

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["Square", "Transform"]


@dataclass(frozen=True)
class Square:
    """A transformed picture.

    Attributes:
        image: [3, size, size] uint8.
        conditions: [5] float32: width and height of the original, left and top of the crop in
            pixels after resizing, score.
    """

    image: Tensor
    conditions: Tensor


@dataclass(frozen=True)
class Transform:
    """Resize the shorter side to `size`, then crop a square.

    Args:
        size: side of the square in pixels.
        random_crop: crop anywhere instead of in the centre, where a generator is given.
        flip: mirror half of the pictures, where a generator is given.

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

    def __call__(self, picture: Image, generator: torch.Generator | None = None) -> Square:
        """Transform an RGB picture; without a generator the same square every time."""
        import numpy as np
        from PIL import Image

        width, height = picture.size
        side = min(width, height)
        place = torch.full((2,), 0.5)
        if generator is not None and self.random_crop:
            place = torch.rand(2, generator=generator)
        left, top = (place * torch.tensor([width - side, height - side])).round().int().tolist()
        # Cropping inside `resize` reads only the square; the result is that of resizing first.
        box = (left, top, left + side, top + side)
        small = picture.resize((self.size, self.size), Image.Resampling.LANCZOS, box=box)
        image = torch.from_numpy(np.array(small)).permute(2, 0, 1).contiguous()
        if generator is not None and self.flip and bool(torch.rand((), generator=generator) < 0.5):
            image = image.flip(-1)
        scale = self.size / side
        return Square(image, torch.tensor([width, height, left * scale, top * scale, SCORE]))
