"""Random crops of a whole batch: the views that self-distillation compares (DINO, iBOT)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from mimgen.data.transforms.colours import NUMBERS as COLOUR_NUMBERS
from mimgen.data.transforms.colours import Colours
from mimgen.errors import UserError
from mimgen.types import SampleRNG

TRIES = 10  # boxes that are sampled until one fits
NUMBERS = 2 * TRIES + 3  # of one crop: areas, aspects, place down, place across, mirroring

Kernel = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Boxes:
    """One box per image, in pixels.

    Attributes:
        top: [B] first row.
        left: [B] first column.
        height: [B] rows, whole numbers above 0.
        width: [B] columns, whole numbers above 0.
        mirrored: [B] boolean, whether what is cut out is turned left to right.
    """

    top: Tensor
    left: Tensor
    height: Tensor
    width: Tensor
    mirrored: Tensor


def random_boxes(
    uniform: Tensor,
    sides: tuple[int, int],
    scale: tuple[float, float],
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
    flip: bool = True,
) -> Boxes:
    """Boxes of Inception crops: area uniform, aspect log-uniform, the first of ten tries that fits.

    Args:
        uniform: [B, 23] numbers in [0, 1).
        sides: rows and columns of the images.
        scale: smallest and largest share of the image's area.
        ratio: smallest and largest width over height.
        flip: mirror half of them.

    Raises:
        UserError: a share outside 0..1, or bounds in the wrong order.
    """
    if not (0 < scale[0] <= scale[1] <= 1 and 0 < ratio[0] <= ratio[1]):
        raise UserError(f"crops of scale {scale} and ratio {ratio}: both are (smallest, largest), scale within 0..1")
    rows, columns = sides
    area = rows * columns * (scale[0] + (scale[1] - scale[0]) * uniform[:, :TRIES])  # [B, TRIES]
    low, high = math.log(ratio[0]), math.log(ratio[1])
    aspect = (low + (high - low) * uniform[:, TRIES : 2 * TRIES]).exp()
    width, height = (area * aspect).sqrt().round().clamp(min=1), (area / aspect).sqrt().round().clamp(min=1)
    fits = (width <= columns) & (height <= rows)  # [B, TRIES]
    first = fits.int().argmax(dim=1, keepdim=True)
    # where none fits, the largest centred box of an allowed aspect
    whole_width = min(columns, max(1, round(rows * ratio[1])))
    whole_height = min(rows, max(1, round(columns / ratio[0])))
    found = fits.any(dim=1)
    width = width.gather(1, first)[:, 0].where(found, torch.tensor(float(whole_width)))
    height = height.gather(1, first)[:, 0].where(found, torch.tensor(float(whole_height)))
    down, across, mirror = uniform[:, 2 * TRIES :].unbind(1)
    down, across = down.where(found, torch.tensor(0.5)), across.where(found, torch.tensor(0.5))
    top, left = (down * (rows - height + 1)).floor(), (across * (columns - width + 1)).floor()
    return Boxes(top, left, height, width, mirror < 0.5 if flip else torch.zeros_like(found))


def crop(images: Tensor, boxes: Boxes, size: int, kernel: Kernel | None = None) -> Tensor:
    """Cut out one box per image and resize it with antialiasing.

    Args:
        images: [B, C, H, W], of any unit.
        boxes: within the images.
        size: side of the result in pixels.
        kernel: weight of a distance in pixels; `triangle` (bilinear) by default, or `cubic`.

    Returns:
        [B, C, size, size] float32.
    """
    rows = _weights(boxes.top, boxes.height, images.shape[2], size, kernel or triangle)
    columns = _weights(boxes.left, boxes.width, images.shape[3], size, kernel or triangle)
    columns = torch.where(boxes.mirrored[:, None, None], columns.flip(1), columns)
    # two small matrix products, as resizing is separable; in bf16 they would round to 8 bits of colour or fewer
    with torch.autocast(images.device.type, enabled=False):
        rows, columns = rows.to(images.device)[:, None], columns.to(images.device)[:, None]  # [B, 1, size, source]
        return rows @ images.float() @ columns.transpose(2, 3)


def random_crops(
    images: Tensor,
    rng: SampleRNG,
    size: int,
    scale: tuple[float, float] = (0.08, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
    flip: bool = True,
) -> Tensor:
    """One random crop per image, resized.

    Args:
        images: [B, C, H, W].
        rng: one stream per image.
        size: side of the crops in pixels.
        scale: smallest and largest share of the image's area.
        ratio: smallest and largest width over height.
        flip: mirror half of them.

    Returns:
        [B, C, size, size] float32.

    Raises:
        UserError: a share outside 0..1, or bounds in the wrong order.
    """
    sides = (images.shape[2], images.shape[3])
    return crop(images, random_boxes(rng.uniform(NUMBERS), sides, scale, ratio, flip), size)


def triangle(distance: Tensor) -> Tensor:
    """Bilinear interpolation: weights of distances [...] in pixels."""
    return (1 - distance).clamp(min=0)


def cubic(distance: Tensor) -> Tensor:
    """Bicubic interpolation with a = -1/2 (Keys, 1981), as Pillow has it."""
    near = (1.5 * distance - 2.5) * distance.square() + 1
    far = ((-0.5 * distance + 2.5) * distance - 4) * distance + 2
    return torch.where(distance < 1, near, far.where(distance < 2, torch.zeros(())))


def _weights(start: Tensor, length: Tensor, source: int, size: int, kernel: Kernel) -> Tensor:
    """[B, size, source]: how much each pixel of a line counts in each resized one; rows sum to 1.

    Pixels outside of the box do not count, as if it had been cut out before.
    """
    start, length = start[:, None, None], length[:, None, None]
    step = length / size
    centre = start + (torch.arange(size)[:, None] + 0.5) * step  # [B, size, 1]
    position = torch.arange(source) + 0.5  # [source]
    weights = kernel((position - centre).abs() / step.clamp(min=1))  # [B, size, source]; a wider kernel when shrinking
    weights = weights * ((position > start) & (position < start + length))
    return weights / weights.sum(-1, keepdim=True)


@dataclass(frozen=True)
class Views:
    """Crops of the same images.

    Attributes:
        large: [G, B, C, S, S].
        small: [L, B, C, s, s], L may be 0.
    """

    large: Tensor
    small: Tensor


@dataclass(frozen=True)
class MultiCrop:
    """Large crops of a batch and small ones, all with colours changed at random (SwAV; DINO, section 3.1).

    Attributes:
        size: side of the large crops in pixels.
        small_size: side of the small ones.
        large: number of large crops.
        small: number of small ones.
        large_scale: share of the area that a large crop shows; without small ones iBOT takes (0.14, 1).
        small_scale: of a small crop.
        colours: changes of the first large crop, of the other large ones, and of the small ones; empty for none.
    """

    size: int = 224
    small_size: int = 96
    large: int = 2
    small: int = 10
    large_scale: tuple[float, float] = (0.25, 1.0)
    small_scale: tuple[float, float] = (0.05, 0.25)
    colours: tuple[Colours, ...] = field(
        default=(Colours(blurred=1.0), Colours(blurred=0.1, solarised=0.2), Colours(blurred=0.5))
    )

    def __post_init__(self) -> None:
        if self.large < 1 or self.small < 0:
            raise UserError(f"{self.large} large and {self.small} small crops: take at least 1 large one")
        if len(self.colours) not in (0, 3):
            raise UserError(f"{len(self.colours)} changes of colour: give 3 (first large, other large, small) or none")

    def __call__(self, images: Tensor, rng: SampleRNG) -> Views:
        """Crops of images [B, 3, H, W] in [0, 1], which they stay in; one stream of `rng` an image."""
        uniform = rng.uniform(self.large + self.small, NUMBERS + COLOUR_NUMBERS).unbind(1)
        made = [self._view(images, numbers, number) for number, numbers in enumerate(uniform)]
        nothing = images.new_zeros(0, *images.shape[:2], self.small_size, self.small_size)
        small = torch.stack(made[self.large :]) if self.small else nothing
        return Views(torch.stack(made[: self.large]), small)

    def _view(self, images: Tensor, uniform: Tensor, number: int) -> Tensor:
        large = number < self.large
        scale, size = (self.large_scale, self.size) if large else (self.small_scale, self.small_size)
        boxes = random_boxes(uniform[:, :NUMBERS], (images.shape[2], images.shape[3]), scale)
        # the cubic kernel overshoots at edges
        view = crop(images, boxes, size, cubic).clamp(0, 1)
        if not self.colours:
            return view
        return self.colours[min(number, 1) if large else 2](view, uniform[:, NUMBERS:].to(images.device))
