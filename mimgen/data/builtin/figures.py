"""Synthetic figures of people with known joints: identity is the colours and proportions, the pose varies."""

from __future__ import annotations

import hashlib
import math
import random
from dataclasses import dataclass, replace
from functools import cache

import torch
from torch import Tensor

from mimgen.data.contract import Sample
from mimgen.data.memory import SCORE
from mimgen.data.sources.keypoints import crop_person, mirror_person
from mimgen.errors import UserError
from mimgen.types import mix_seed

__all__ = ["FIGURE_SPLITS", "FigureDataset", "open_figures"]

FIGURE_SPLITS = ("train", "val", "all")
PEOPLE = {"train": (400, 10), "val": (80, 10)}  # people, images of each; nobody is in both
SMALLEST = 16
COLOURS = {
    "red": (0.85, 0.15, 0.15),
    "yellow": (0.92, 0.80, 0.10),
    "green": (0.12, 0.62, 0.20),
    "cyan": (0.10, 0.72, 0.78),
    "blue": (0.15, 0.28, 0.85),
    "purple": (0.60, 0.18, 0.70),
}
SKIN = ((0.96, 0.80, 0.69), (0.78, 0.57, 0.44), (0.45, 0.30, 0.22))
WORN = ("shirt", "sleeves", "trousers")
_SMALLEST_SHARE = 0.8  # of the area, of a random crop
# bones that are sampled, by joint, what covers them, and how far in shares of the height
_BONES = (
    (((5, 6), (11, 12), (5, 12), (6, 11), (5, 11), (6, 12)), "shirt", 0.042),
    (((11, 13), (13, 15), (12, 14), (14, 16)), "trousers", 0.026),
    (((5, 7), (7, 9), (6, 8), (8, 10)), "sleeves", 0.026),
)


@dataclass(frozen=True)
class _Person:
    """Who it is: colours by name of garment, number of the skin, lengths of limbs in shares of the height."""

    worn: tuple[str, ...]
    skin: int
    arm: float
    leg: float
    shoulders: float


@dataclass(frozen=True)
class _Item:
    key: str
    split: str
    identity: int
    person: _Person
    seed: int


class FigureDataset:
    """Figures sampled when they are read, twice as high as wide; see `contract.Dataset`.

    `Sample.extras["keypoints"]` are the 17 joints of COCO. The labels are "identity" (who it is) and the colours
    of "shirt", "sleeves" and "trousers". A loader crops at random (80 to 100 % of the area) and mirrors half of
    the images; the joints follow.

    Args:
        size: height of the images in pixels, even.
        split: "train", "val" (other people) or "all".
    """

    augments = True

    def __init__(self, size: int, split: str) -> None:
        self.size = size
        # sampling takes longer than a small training step, so every figure is sampled once
        self._rendered: dict[int, tuple[Tensor, Tensor]] = {}
        self.name = "figures" if split == "all" else f"figures/{split}"
        self.items = [item for part in PEOPLE if split in ("all", part) for item in _items(part)]
        self.splits = [item.split for item in self.items]
        self.keys = [item.key for item in self.items]
        self.captions = [_caption(item.person) for item in self.items]
        people = [f"{part}-{number}" for part, (count, _) in PEOPLE.items() for number in range(count)]
        self.label_names = {"identity": people, **{garment: list(COLOURS) for garment in WORN}}
        facts = [size, COLOURS, SKIN, self.items]
        self.fingerprint = hashlib.sha256(repr(facts).encode()).hexdigest()[:16]

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Sample:
        if not 0 <= index < len(self):
            raise IndexError(f"{self.name} holds {len(self)} images; there is no number {index}")
        item = self.items[index]
        if index not in self._rendered:
            source = random.Random(item.seed)
            joints = _pose(item.person, source)
            keypoints = torch.cat([joints * self.size, torch.ones(len(joints), 1)], dim=1)
            self._rendered[index] = _render(item.person, joints, self.size, source), keypoints
        image, keypoints = self._rendered[index]
        conditions = torch.tensor([self.size // 2, self.size, 0.0, 0.0, SCORE])
        extras = {"keypoints": keypoints}
        return Sample(image, self.captions[index], self._labels(item), item.key, conditions, extras=extras)

    def sample(self, index: int, generator: torch.Generator) -> Sample:
        """Figure `index`, cropped and mirrored at random."""
        plain = self[index]
        area, left, top, turn = torch.rand(4, generator=generator).tolist()
        side = math.sqrt(_SMALLEST_SHARE + (1 - _SMALLEST_SHARE) * area)
        height, width = side * self.size, side * self.size / 2
        x, y = left * (self.size / 2 - width), top * (self.size - height)
        size = (self.size, self.size // 2)
        image, keypoints = crop_person(plain.image, plain.extras["keypoints"], (x, y, x + width, y + height), size)
        if turn < 0.5:
            image, keypoints = mirror_person(image, keypoints)
        return replace(plain, image=image, extras={"keypoints": keypoints})

    @property
    def labels(self) -> dict[str, Tensor]:
        """Every label set, each [n] int64."""
        rows = [self._labels(item) for item in self.items]
        return {name: torch.tensor([row[name] for row in rows]) for name in self.label_names}

    def _labels(self, item: _Item) -> dict[str, int]:
        colours = list(COLOURS)
        worn = {garment: colours.index(colour) for garment, colour in zip(WORN, item.person.worn, strict=True)}
        return {"identity": item.identity, **worn}


def open_figures(size: int = 64, split: str | None = None) -> FigureDataset:
    """The figures, the same everywhere: 400 people to train on and 80 others to evaluate by, ten poses of each.

    Args:
        size: height of the images in pixels, even, at least 16; they are half as wide.
        split: "train", "val" or "all"; None means "all".

    Raises:
        UserError: a size or split that does not exist.
    """
    chosen = split or "all"
    if chosen not in FIGURE_SPLITS:
        raise UserError(f"figures have no split {split!r}; choose from {', '.join(FIGURE_SPLITS)}")
    if size < SMALLEST or size % 2:
        raise UserError(f"size {size}: figures are an even number of pixels high, {SMALLEST} or more")
    return FigureDataset(size, chosen)


@cache
def _items(split: str) -> list[_Item]:
    first = 0 if split == "train" else PEOPLE["train"][0]
    count, images = PEOPLE[split]
    return [
        _Item(f"figure-{split}-{number:03d}-{pose:02d}", split, first + number, _person(split, number),
              mix_seed("figures", split, number, pose))
        for number in range(count)
        for pose in range(images)
    ]  # fmt: skip


def _person(split: str, number: int) -> _Person:
    source = random.Random(mix_seed("people", split, number))
    worn = tuple(source.choice(list(COLOURS)) for _ in WORN)
    lengths = (source.uniform(0.11, 0.15), source.uniform(0.17, 0.22), source.uniform(0.08, 0.12))
    return _Person(worn, source.randrange(len(SKIN)), *(round(length, 6) for length in lengths))


def _caption(person: _Person) -> str:
    shirt, sleeves, trousers = person.worn
    return f"a person in {shirt} with {sleeves} sleeves and {trousers} trousers"


def _pose(person: _Person, source: random.Random) -> Tensor:
    """[17, 2] float32: column and row of each joint in shares of the height, in front of the viewer."""
    x, y = 0.25 + source.uniform(-0.04, 0.04), 0.16 + source.uniform(-0.02, 0.02)
    tilt = source.uniform(-0.02, 0.02)
    joints = {0: (x, y)}
    for side in (1, -1):  # the person's left is on the viewer's right
        left = 0 if side == 1 else 1
        joints[1 + left], joints[3 + left] = (x + side * 0.02, y - 0.02), (x + side * 0.04, y - 0.01)
        shoulder = (x + side * person.shoulders, y + 0.10)
        hip = (x + tilt + side * 0.7 * person.shoulders, y + 0.36)
        joints[5 + left], joints[11 + left] = shoulder, hip
        joints[7 + left] = _along(shoulder, person.arm, side * source.uniform(-0.2, 1.9))
        joints[9 + left] = _along(joints[7 + left], person.arm, side * source.uniform(-0.8, 2.6))
        joints[13 + left] = _along(hip, person.leg, side * source.uniform(-0.3, 0.6))
        joints[15 + left] = _along(joints[13 + left], person.leg, side * source.uniform(-0.5, 0.4))
    positions = torch.tensor([joints[joint] for joint in range(17)])
    return positions.clamp(min=0.005).minimum(torch.tensor([0.495, 0.995]))


def _along(start: tuple[float, float], length: float, angle: float) -> tuple[float, float]:
    """The end of a limb that hangs from `start`, turned from straight down by `angle`."""
    return start[0] + length * math.sin(angle), start[1] + length * math.cos(angle)


def _render(person: _Person, joints: Tensor, size: int, source: random.Random) -> Tensor:
    """[3, size, size / 2] uint8: clutter, then the body over it."""
    rows = (torch.arange(size) + 0.5)[:, None] / size
    columns = (torch.arange(size // 2) + 0.5)[None] / size
    grey = source.uniform(0.25, 0.85)
    image = torch.full((3, size, size // 2), grey)
    for _ in range(8):
        colour = torch.tensor([source.uniform(0.1, 0.95) for _ in range(3)])
        x, y, wide, high = (source.uniform(*span) for span in ((0, 0.5), (0, 1), (0.03, 0.15), (0.03, 0.3)))
        inside = ((columns - x).abs() < wide / 2) & ((rows - y).abs() < high / 2)
        image = torch.where(inside, colour[:, None, None], image)
    skin = torch.tensor(SKIN[person.skin])
    for bones, garment, thickness in _BONES:
        colour = torch.tensor(COLOURS[person.worn[WORN.index(garment)]])
        distance = _distance(joints[torch.tensor(bones)], columns, rows)
        image = _over(image, colour, distance - thickness, size)
    hands = _distance(joints[torch.tensor([(9, 9), (10, 10)])], columns, rows)
    head = _distance(joints[torch.tensor([(0, 0)])], columns, rows)
    return (_over(_over(image, skin, hands - 0.022, size), skin, head - 0.055, size) * 255).round().byte()


def _distance(ends: Tensor, columns: Tensor, rows: Tensor) -> Tensor:
    """[h, w] distance of every pixel from the nearest of the lines between joints [n, 2, 2]."""
    start, along = ends[:, 0, :, None, None], (ends[:, 1] - ends[:, 0])[..., None, None]
    right, down = columns - start[:, 0], rows - start[:, 1]
    share = (right * along[:, 0] + down * along[:, 1]) / along.square().sum(1).clamp(min=1e-9)
    share = share.clamp(0, 1)
    return ((right - share * along[:, 0]).square() + (down - share * along[:, 1]).square()).amin(0).sqrt()


def _over(image: Tensor, colour: Tensor, depth: Tensor, size: int) -> Tensor:
    """Paint where `depth` is negative; edges are one pixel soft."""
    share = (0.5 - depth * size).clamp(0, 1)
    return image + share * (colour[:, None, None] - image)
