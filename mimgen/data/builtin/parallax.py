"""Procedural stereo pairs: textured things before a textured wall, seen by two cameras side by side."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

import torch
from torch import Tensor

from mimgen.data.contract import Sample
from mimgen.data.memory import SCORE
from mimgen.data.sources.listing import digest
from mimgen.errors import UserError
from mimgen.types import mix_seed

__all__ = ["PARALLAX_SPLITS", "ParallaxDataset", "open_parallax"]

COUNTS = {"train": 6000, "val": 600}
PARALLAX_SPLITS = (*COUNTS, "all")
SHAPES = ("circle", "square", "diamond")
SMALLEST = 16

# all in sides of the image
_WALL = (0.0, 0.05)  # disparity of the wall
_NEAR = (0.08, 0.2)  # of the things before it
_RADII = (0.14, 0.3)
_WAVES, _CYCLES = 8, (1.5, 8.0)  # of a texture: how many, and how often they repeat


@dataclass(frozen=True)
class Layer:
    """One flat thing, parallel to both images.

    Attributes:
        shape: one of `SHAPES`.
        x: centre in the first view, in sides of the image.
        y: the same, from the top.
        radius: half of its width.
        disparity: how much farther left it is in the second view.
    """

    shape: str
    x: float
    y: float
    radius: float
    disparity: float


@dataclass(frozen=True)
class _Item:
    key: str
    split: str
    seed: int
    wall: float
    layers: tuple[Layer, ...]  # the nearest last


class ParallaxDataset:
    """Pairs sampled when they are read; see `contract.Dataset`.

    `Sample.extras` has "second", the view of a camera farther right, and "disparity" [1, size, size], how many
    pixels farther left each point of the first view is in the second. The labels are "nearest", the shape of the
    nearest thing, and "count" of things.

    Args:
        size: side of the images in pixels, at least 16.
        split: "train", "val" or "all".
    """

    def __init__(self, size: int, split: str) -> None:
        self.size = size
        self.name = "parallax" if split == "all" else f"parallax/{split}"
        parts = [part for part in COUNTS if split in ("all", part)]
        self.items = [_item(part, index) for part in parts for index in range(COUNTS[part])]
        self.splits, self.keys = [item.split for item in self.items], [item.key for item in self.items]
        self.captions = [f"{len(item.layers)} things before a wall" for item in self.items]
        self.label_names = {"nearest": list(SHAPES), "count": ["1", "2", "3"]}
        self.fingerprint = digest([size, _WAVES, _CYCLES, *self.items])

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Sample:
        if not 0 <= index < len(self):
            raise IndexError(f"{self.name} holds {len(self)} images; there is no number {index}")
        item = self.items[index]
        first, second, disparity = render(item.seed, item.wall, item.layers, self.size)
        return Sample(
            image=first,
            caption=self.captions[index],
            labels=_labels(item),
            key=item.key,
            conditions=torch.tensor([self.size, self.size, 0.0, 0.0, SCORE]),
            extras={"second": second, "disparity": disparity},
        )

    @property
    def labels(self) -> dict[str, Tensor]:
        """Every label set, each [n] int64."""
        rows = [_labels(item) for item in self.items]
        return {name: torch.tensor([row[name] for row in rows]) for name in self.label_names}


def open_parallax(size: int = 64, split: str | None = None) -> ParallaxDataset:
    """The stereo pairs, the same everywhere: 6000 to train on, 600 of val.

    Args:
        size: side of the images in pixels, at least 16.
        split: "train", "val" or "all"; None means "all".

    Raises:
        UserError: a size or split that does not exist.
    """
    chosen = split or "all"
    if chosen not in PARALLAX_SPLITS:
        raise UserError(f"parallax has no split {split!r}; choose from {', '.join(PARALLAX_SPLITS)}")
    if size < SMALLEST:
        raise UserError(f"size {size}: parallax needs {SMALLEST} pixels or more")
    return ParallaxDataset(size, chosen)


def render(seed: int, wall: float, layers: tuple[Layer, ...], size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Both views and the disparity of the first.

    Args:
        seed: of the textures.
        wall: disparity of the background.
        layers: things before it, the nearest last.
        size: side in pixels.

    Returns:
        first [3, size, size] uint8, second [3, size, size] uint8, disparity [1, size, size] float32 in pixels.
    """
    generator = torch.Generator().manual_seed(seed)
    positions = (torch.arange(size) + 0.5) / size
    wave = _texture(generator)
    views = [_painted(wave, positions + shift, positions) for shift in (0.0, wall)]
    disparity = torch.full((1, size, size), wall)
    for layer in layers:
        wave = _texture(generator)
        for number, shift in enumerate((0.0, layer.disparity)):
            cover = _coverage(layer, positions + shift, positions)
            views[number] = torch.lerp(views[number], _painted(wave, positions + shift, positions), cover)
            if number == 0:
                disparity = torch.where(cover > 0.5, layer.disparity, disparity)
    first, second = ((view.clamp(0, 1) * 255).round().to(torch.uint8) for view in views)
    return first, second, disparity * size


def _texture(generator: torch.Generator) -> Tensor:
    """[1 + waves, 6] numbers (cycles across, cycles down, phase, amplitude of each colour); the mean colour first."""
    numbers = torch.rand(_WAVES, 6, generator=generator)
    minimum, maximum = (math.log(cycles) for cycles in _CYCLES)
    cycles, angle = (minimum + (maximum - minimum) * numbers[:, 0]).exp(), math.pi * numbers[:, 1]
    waves = torch.stack([cycles * angle.cos(), cycles * angle.sin(), numbers[:, 2]], dim=1)
    colour = torch.cat([torch.zeros(1, 3), 0.25 + 0.5 * torch.rand(1, 3, generator=generator)], dim=1)
    return torch.cat([colour, torch.cat([waves, 0.4 * numbers[:, 3:] - 0.2], dim=1)])


def _painted(wave: Tensor, across: Tensor, down: Tensor) -> Tensor:
    """[3, h, w] colours of a texture at the positions across [w] and down [h]."""
    right = 2 * math.pi * (wave[:, :1] * across + wave[:, 2:3])
    below = 2 * math.pi * wave[:, 1:2] * down
    # the cosine of a sum in two products, so that no cosine is taken for each pixel
    columns = torch.cat([right.cos(), right.sin()])
    rows = torch.cat([below.cos(), -below.sin()])[:, None] * wave[:, 3:].repeat(2, 1)[..., None]
    return torch.einsum("kch,kw->chw", rows, columns)


def _coverage(layer: Layer, across: Tensor, down: Tensor) -> Tensor:
    """[h, w] share of a pixel at the positions across [w] and down [h] that the layer covers, about."""
    x, y = (across - layer.x).abs(), (down - layer.y).abs()[:, None]
    if layer.shape == "circle":
        reach = torch.hypot(x, y)
    else:
        reach = torch.maximum(x, y) if layer.shape == "square" else (x + y) / math.sqrt(2)
    return ((layer.radius - reach) * len(across) + 0.5).clamp(0, 1)


def _item(split: str, index: int) -> _Item:
    source = random.Random(mix_seed("parallax", split, index))
    layers = []
    for _ in range(source.randint(1, 3)):
        shape, radius = source.choice(SHAPES), source.uniform(*_RADII)
        x, y = source.uniform(0.15, 0.95), source.uniform(0.1, 0.9)
        layers.append(Layer(shape, x, y, radius, source.uniform(*_NEAR)))
    layers.sort(key=lambda layer: layer.disparity)
    wall = source.uniform(*_WALL)
    return _Item(f"parallax-{split}-{index:04d}", split, mix_seed("texture", split, index), wall, tuple(layers))


def _labels(item: _Item) -> dict[str, int]:
    return {"nearest": SHAPES.index(item.layers[-1].shape), "count": len(item.layers) - 1}
