"""Procedural volumes: bodies of soft tissue with a few organs, and which voxel belongs to which."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor

from mimgen.data.contract import Sample
from mimgen.errors import UserError
from mimgen.types import mix_seed

__all__ = ["ORGANS", "PHANTOM_SPLITS", "PhantomDataset", "open_phantoms"]

COUNTS = {"train": 2000, "val": 200}
PHANTOM_SPLITS = (*COUNTS, "all")
ORGANS = ("bright ball", "dark ball", "rod", "shell")
SMALLEST = 8

_TISSUE, _NOISE = 0.35, 0.04
_BRIGHTNESS = (0.9, 0.1, 0.65, 0.75)  # of each organ; air is 0
_HOLLOW = 0.45  # a shell is empty where the squared radius is below
# half axes of each organ in units of half the volume, before they vary by a quarter
_AXES = ((0.24, 0.24, 0.24), (0.28, 0.28, 0.28), (0.12, 0.12, 0.5), (0.3, 0.3, 0.3))


class PhantomDataset:
    """Phantoms sampled when they are read; see `contract.Dataset`.

    A sample's image is [1, S, S, S] float32, about 0 to 1; its extra "segmentation" [S, S, S] int64 is 0 for air
    and tissue and 1 to 4 for the organs; the label "organs" is their number less 1.

    Args:
        size: S, side in voxels, at least 8.
        split: "train", "val" or "all".
    """

    def __init__(self, size: int, split: str) -> None:
        self.size, self.name = size, "volumes" if split == "all" else f"volumes/{split}"
        parts = [part for part in COUNTS if split in ("all", part)]
        self.items = [(part, index) for part in parts for index in range(COUNTS[part])]
        self.splits = [part for part, _ in self.items]
        self.keys = [f"volume-{part}-{index:04d}" for part, index in self.items]
        self.captions = [""] * len(self.items)
        self.label_names = {"organs": [str(count + 1) for count in range(len(ORGANS))]}
        facts = (size, self.keys, COUNTS, _TISSUE, _NOISE, _BRIGHTNESS, _HOLLOW, _AXES)
        self.fingerprint = hashlib.sha256(repr(facts).encode()).hexdigest()[:16]

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Sample:
        if not 0 <= index < len(self):
            raise IndexError(f"{self.name} holds {len(self)} volumes; there is no number {index}")
        image, segmentation = render_phantom(self._source(index), self.size, self._count(index))
        return Sample(
            image=image[None],
            caption="",
            labels={"organs": self._count(index) - 1},
            key=self.keys[index],
            extras={"segmentation": segmentation},
        )

    @property
    def labels(self) -> dict[str, Tensor]:
        """The label set "organs", [n] int64."""
        return {"organs": torch.tensor([self._count(index) - 1 for index in range(len(self))])}

    def _source(self, index: int) -> torch.Generator:
        return torch.Generator().manual_seed(mix_seed("volumes", *self.items[index]))

    def _count(self, index: int) -> int:
        return 1 + mix_seed("organs", *self.items[index]) % len(ORGANS)


def open_phantoms(size: int = 32, split: str | None = None) -> PhantomDataset:
    """The phantoms, the same everywhere: 2000 to train on and 200 of val.

    Raises:
        UserError: a size or split that does not exist.
    """
    chosen = split or "all"
    if chosen not in PHANTOM_SPLITS:
        raise UserError(f"volumes have no split {split!r}; choose from {', '.join(PHANTOM_SPLITS)}")
    if size < SMALLEST:
        raise UserError(f"size {size}: phantoms need {SMALLEST} voxels per side or more")
    return PhantomDataset(size, chosen)


def render_phantom(source: torch.Generator, size: int, count: int) -> tuple[Tensor, Tensor]:
    """One phantom.

    Args:
        source: where random numbers come from.
        size: side S in voxels.
        count: how many of the organs are in it.

    Returns:
        Brightness [S, S, S] float32 and organ of each voxel [S, S, S] int64, 0 for none. Organs that are sampled
        later lie before earlier ones.
    """
    ticks = (torch.arange(size) + 0.5) * 2 / size - 1
    positions = torch.stack(torch.meshgrid(ticks, ticks, ticks, indexing="ij"), dim=-1)
    body = _distance(positions, torch.zeros(3), _varied(torch.tensor([0.85, 0.7, 0.95]), source), torch.eye(3)) < 1
    image, segmentation = _TISSUE * body.float(), torch.zeros(size, size, size, dtype=torch.int64)
    for organ in torch.randperm(len(ORGANS), generator=source)[:count].tolist():
        centre = torch.rand(3, generator=source) - 0.5
        axes = _varied(torch.tensor(_AXES[organ]), source)
        distance = _distance(positions, centre, axes, _rotation(source))
        inside = (distance < 1) & (distance > (_HOLLOW if ORGANS[organ] == "shell" else -1))
        image = torch.where(inside, _BRIGHTNESS[organ], image)
        segmentation = torch.where(inside, organ + 1, segmentation)
    return image + _NOISE * torch.randn(image.shape, generator=source), segmentation


def _varied(axes: Tensor, source: torch.Generator) -> Tensor:
    return axes * (0.875 + 0.25 * torch.rand(3, generator=source))


def _rotation(source: torch.Generator) -> Tensor:
    """[3, 3], a random rotation (maybe with a reflection, under which ellipsoids are the same)."""
    return torch.linalg.qr(torch.randn(3, 3, generator=source)).Q


def _distance(positions: Tensor, centre: Tensor, axes: Tensor, rotation: Tensor) -> Tensor:
    """Squared radius [S, S, S] in an ellipsoid, 1 on its surface."""
    return ((((positions - centre) @ rotation) / axes) ** 2).sum(-1)
