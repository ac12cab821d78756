"""Procedural scenes: images whose captions are true by construction, so agreement can be checked exactly."""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from mimgen.data.builtin.scene_claims import CATEGORIES, NUMBERS, RELATIONS, Claim, Part
from mimgen.data.builtin.scene_images import (
    COLOURS,
    GROUNDS,
    SHAPES,
    SMALLEST,
    Scene,
    Thing,
    render,
    segmentation,
)
from mimgen.data.contract import Sample
from mimgen.data.memory import SCORE
from mimgen.errors import UserError
from mimgen.types import mix_seed

__all__ = ["HELD_OUT", "SCENE_SPLITS", "SceneDataset", "open_scenes", "sample_claim", "sample_scene"]

COUNTS = {"train": 6000, "val": 600, "compose": 600}
SCENE_SPLITS = (*COUNTS, "all")

# pairs of colour and shape that neither train nor val ever show; every caption of compose names one
HELD_OUT = frozenset(
    (colour, shape)
    for i, colour in enumerate(COLOURS)
    for j, shape in enumerate(SHAPES)
    if (i + j) % len(SHAPES) == 0
)
_PAIRS = tuple((colour, shape) for colour in COLOURS for shape in SHAPES)

_GAP = 0.07  # smallest distance between objects
_BORDER = 0.04  # smallest distance to the border
_RADII = (0.11, 0.17)  # of one or two objects
_SMALL = (0.10, 0.14)  # of more


class SceneDataset:
    """Scenes sampled when they are read; see `contract.Dataset`.

    The labels are "category" (kind of caption), "count" (objects in the image), "colour" and
    "shape" (of the object named first).

    Args:
        size: side of the images in pixels, at least 32.
        split: "train", "val", "compose" or "all".
    """

    def __init__(self, size: int, split: str) -> None:
        self.size = size
        self.name = "scenes" if split == "all" else f"scenes/{split}"
        parts = [part for part in COUNTS if split in ("all", part)]
        self.items = [_item(part, index) for part in parts for index in range(COUNTS[part])]
        self.splits = [item.split for item in self.items]
        self.keys = [item.key for item in self.items]
        self.captions = [item.claim.caption for item in self.items]
        self.label_names = {
            "category": list(CATEGORIES),
            "count": [str(number + 1) for number in range(len(NUMBERS))],
            "colour": list(COLOURS),
            "shape": list(SHAPES),
        }
        facts = [size, COLOURS, GROUNDS, [(item.key, item.scene) for item in self.items]]
        self.fingerprint = hashlib.sha256(repr(facts).encode()).hexdigest()[:16]

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Sample:
        if not 0 <= index < len(self):
            raise IndexError(f"{self.name} holds {len(self)} images; there is no number {index}")
        item = self.items[index]
        return Sample(
            image=render(item.scene, self.size),
            caption=self.captions[index],
            labels=self._labels(item),
            key=item.key,
            conditions=torch.tensor([self.size, self.size, 0.0, 0.0, SCORE]),
            extras={"segmentation": segmentation(item.scene, self.size)},
        )

    @property
    def labels(self) -> dict[str, Tensor]:
        """Every label set, each [n] int64."""
        rows = [self._labels(item) for item in self.items]
        return {name: torch.tensor([row[name] for row in rows]) for name in self.label_names}

    def _labels(self, item: _Item) -> dict[str, int]:
        first = item.scene.things[0]
        values = (item.claim.category, str(len(item.scene.things)), first.colour, first.shape)
        return {
            name: ids.index(value)
            for (name, ids), value in zip(self.label_names.items(), values, strict=True)
        }


@dataclass(frozen=True)
class _Item:
    """A scene with the claim that it makes true."""

    key: str
    split: str
    claim: Claim
    scene: Scene


def open_scenes(size: int = 64, split: str | None = None) -> SceneDataset:
    """The scene set, the same everywhere: 6000 scenes to train on, 600 of val, 600 of compose.

    `val` shows new images; the captions of `compose` each name a pair of colour and shape that
    neither of the others ever shows.

    Args:
        size: side of the images in pixels, at least 32.
        split: "train", "val", "compose" or "all"; None means "all".

    Raises:
        UserError: a size or split that does not exist.
    """
    chosen = split or "all"
    if chosen not in SCENE_SPLITS:
        raise UserError(f"scenes have no split {split!r}; choose from {', '.join(SCENE_SPLITS)}")
    if size < SMALLEST:
        raise UserError(f"size {size}: scenes need {SMALLEST} pixels or more")
    return SceneDataset(size, chosen)


def sample_claim(category: str, source: random.Random, *, new: bool = False) -> Claim:
    """A random claim of one category.

    Args:
        category: one of `CATEGORIES`.
        source: where random numbers come from.
        new: name a held-out pair of colour and shape first; otherwise none is named.

    Raises:
        UserError: `new` of a category whose captions name no colours.
    """
    if new and category in ("single object", "two objects"):
        raise UserError(f"captions of the category {category!r} name no colours, so none of them is new")
    known = [pair for pair in _PAIRS if pair not in HELD_OUT]
    colour, shape = source.choice(sorted(HELD_OUT) if new else known)
    if category in ("single object", "colour"):
        return Claim((Part(shape, colour if category == "colour" else None),))
    if category == "count":
        return Claim((Part(shape, colour, source.randint(2, len(NUMBERS))),))
    if category == "two objects":
        return Claim((Part(shape), Part(source.choice([other for other in SHAPES if other != shape]))))
    # objects that share a colour or a shape cannot have their attributes swapped, so binding has none
    others = [
        pair
        for pair in known
        if (pair[0] != colour and pair[1] != shape) or (category == "position" and pair != (colour, shape))
    ]
    other_colour, other_shape = source.choice(others)
    relation = source.choice(RELATIONS) if category == "position" else None
    return Claim((Part(shape, colour), Part(other_shape, other_colour)), relation)


def sample_scene(claim: Claim, source: random.Random) -> Scene:
    """A random scene that makes the claim true; colours that it leaves open are not held out."""
    wanted = [part for part in claim.parts for _ in range(part.count)]
    pairs = [(part.colour or _colour(part.shape, source), part.shape) for part in wanted]
    things: tuple[Thing, ...] = ()
    while len(things) < len(pairs):
        thing = _throw(*pairs[len(things)], _RADII if len(pairs) <= 2 else _SMALL, source)
        fits = _apart(thing, things) and (
            claim.relation is None or not things or _clearly(claim.relation, things[0], thing)
        )
        # where one does not fit, all are thrown again, so that no place is favoured for being left over
        things = (*things, thing) if fits else ()
    return Scene(things, source.choice(tuple(GROUNDS)))


def _throw(colour: str, shape: str, radii: tuple[float, float], source: random.Random) -> Thing:
    radius = source.uniform(*radii)
    x, y = (source.uniform(radius + _BORDER, 1 - radius - _BORDER) for _ in range(2))
    # rounded, so that the last digits of a machine's arithmetic cannot change the fingerprint
    return Thing(shape, colour, round(x, 6), round(y, 6), round(radius, 6))


@cache
def _item(split: str, index: int) -> _Item:
    source = random.Random(mix_seed("scenes", split, index))
    new = split == "compose"
    kinds = [kind for kind in CATEGORIES if not new or kind not in ("single object", "two objects")]
    claim = sample_claim(kinds[index % len(kinds)], source, new=new)
    return _Item(f"scenes-{split}-{index:04d}", split, claim, sample_scene(claim, source))


def _colour(shape: str, source: random.Random) -> str:
    return source.choice([colour for colour in COLOURS if (colour, shape) not in HELD_OUT])


def _apart(thing: Thing, others: tuple[Thing, ...]) -> bool:
    return all(
        max(abs(thing.x - other.x), abs(thing.y - other.y)) >= thing.radius + other.radius + _GAP
        for other in others
    )


def _clearly(relation: str, first: Thing, second: Thing) -> bool:
    """Whether the relation holds and nobody would call it another one: twice as far along as across."""
    right, down = first.x - second.x, first.y - second.y
    along, across = (right, down) if relation in ("left of", "right of") else (down, right)
    sign = -1 if relation in ("left of", "above") else 1
    return sign * along > 2 * abs(across)
