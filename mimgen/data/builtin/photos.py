"""Crops of the photographs that scikit-image and scikit-learn carry: texture without a download."""

from __future__ import annotations

import hashlib
import importlib.util
import logging
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mimgen.data.contract import Sample
from mimgen.data.memory import SCORE
from mimgen.errors import UserError
from mimgen.types import mix_seed

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["PHOTO_SPLITS", "PhotoDataset", "open_photos"]

PHOTO_SPLITS = ("train", "val", "all")
CROPS = {"train": 200, "val": 50}  # of each photograph
BAND = (0.375, 0.625)  # of a photograph's longer side is val's: what is shown lies in the middle
LARGEST = 2.0  # sides of crops lie between `size` and this multiple of it

# Photographs only, and one of the stereo pair: the other shows the same things to both splits.
# file -> (package, its folder, share of each side left out; the retina lies in a black frame)
_FILES = {
    **{
        f"{name}.png": ("skimage", "data", 0.0)
        for name in (
            "astronaut", "brick", "camera", "cell", "chelsea", "coffee", "coins", "grass", "gravel", "ihc",
            "moon", "motorcycle_left",
        )
    },
    "hubble_deep_field.jpg": ("skimage", "data", 0.0),
    "retina.jpg": ("skimage", "data", 0.16),
    "rocket.jpg": ("skimage", "data", 0.0),
    "china.jpg": ("sklearn", "datasets/images", 0.0),
    "flower.jpg": ("sklearn", "datasets/images", 0.0),
}  # fmt: skip

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Photo:
    name: str
    image: Image
    digest: str


@dataclass(frozen=True)
class _Crop:
    """Crop `number` of a photograph's split: pixels left, top, right, bottom."""

    photo: int
    split: str
    number: int
    box: tuple[int, int, int, int]


class PhotoDataset:
    """Square crops, cut when they are read; see `contract.Dataset`.

    The label "source" says which photograph a crop is of. The crops of `val` lie in another region
    of each photograph than those of `train`: they share no pixel.

    Args:
        size: side of the crops in pixels, after resizing.
        split: "train", "val" or "all".
    """

    def __init__(self, size: int, split: str) -> None:
        self.size = size
        self.name = "photos" if split == "all" else f"photos/{split}"
        photos = _photos()
        parts = [part for part in CROPS if split in ("all", part)]
        self.crops = [crop for part in parts for index in range(len(photos)) for crop in _crops(index, part, size)]
        self.splits = [crop.split for crop in self.crops]
        self.captions = [photos[crop.photo].name.replace("_", " ") for crop in self.crops]
        self.keys = [f"{photos[crop.photo].name}-{crop.split}-{crop.number:03d}" for crop in self.crops]
        self.label_names = {"source": [photo.name for photo in photos]}
        facts = [size, *(photo.digest for photo in photos), *(str(crop) for crop in self.crops)]
        self.fingerprint = hashlib.sha256(repr(facts).encode()).hexdigest()[:16]

    def __len__(self) -> int:
        return len(self.crops)

    def __getitem__(self, index: int) -> Sample:
        if not 0 <= index < len(self):
            raise IndexError(f"{self.name} holds {len(self)} images; there is no number {index}")
        import numpy as np
        from PIL import Image

        crop = self.crops[index]
        photo = _photos()[crop.photo].image
        # Cut first: resizing with a box would let the filter read beyond it, in the other split.
        part = photo.crop(crop.box).resize((self.size, self.size), Image.Resampling.LANCZOS)
        scale = self.size / (crop.box[2] - crop.box[0])
        return Sample(
            image=torch.from_numpy(np.array(part)).permute(2, 0, 1).contiguous(),
            caption=self.captions[index],
            labels={"source": crop.photo},
            key=self.keys[index],
            conditions=torch.tensor([*photo.size, crop.box[0] * scale, crop.box[1] * scale, SCORE]),
        )

    @property
    def labels(self) -> dict[str, Tensor]:
        """{"source": [n] int64}, the photograph of each crop."""
        return {"source": torch.tensor([crop.photo for crop in self.crops])}


def open_photos(size: int = 64, split: str | None = None) -> PhotoDataset:
    """Crops of 17 photographs, 200 of each for training and 50 for validation, the same everywhere.

    Args:
        size: side of the crops; what is cut is once to twice as large where the photographs allow it.
        split: "train", "val" or "all"; None means "all".

    Raises:
        UserError: a size or split that does not exist, or a library with photographs is missing.
    """
    if size < 1:
        raise UserError(f"size {size} is not positive; pass the side of the images, for example 64")
    chosen = split or "all"
    if chosen not in PHOTO_SPLITS:
        raise UserError(f"photos have no split {split!r}; choose from {', '.join(PHOTO_SPLITS)}")
    smallest = min(_limit(photo.image) for photo in _photos())
    if size > smallest:
        logger.warning("some photographs allow crops of %d pixels only; %d is interpolated", smallest, size)
    return PhotoDataset(size, chosen)


@cache
def _photos() -> tuple[_Photo, ...]:
    """Decode the photographs; once per process."""
    return tuple(_load(file, *where) for file, where in _FILES.items())


def _load(file: str, package: str, folder: str, frame: float) -> _Photo:
    from PIL import Image

    # The package is found but not imported: its files are all that is wanted of it.
    spec = importlib.util.find_spec(package)
    roots = [] if spec is None else list(spec.submodule_search_locations or [])
    path = next((found for root in roots if (found := Path(root, folder, file)).is_file()), None)
    if path is None:
        raise UserError(
            f"photos: {package} with its {file} is not installed; `pip install scikit-image scikit-learn`"
        )
    content = path.read_bytes()
    with Image.open(path) as stored:
        width, height = stored.size
        left, top = round(width * frame), round(height * frame)
        image = stored.convert("RGB").crop((left, top, width - left, height - top))
    return _Photo(path.stem, image, hashlib.sha256(content).hexdigest())


def _regions(image: Image, split: str) -> list[tuple[int, int, int, int]]:
    """The parts of a photograph that a split may see, each left, top, right, bottom."""
    width, height = image.size
    first, last = (round(share * max(width, height)) for share in BAND)
    spans = [(first, last)] if split == "val" else [(0, first), (last, max(width, height))]
    return [(a, 0, b, height) if width >= height else (0, a, width, b) for a, b in spans]


def _limit(image: Image) -> int:
    """Side of the largest crop that fits both splits, so that both hold the same scales."""
    regions = [region for split in CROPS for region in _regions(image, split)]
    return min(side for left, top, right, bottom in regions for side in (right - left, bottom - top))


def _crops(index: int, split: str, size: int) -> list[_Crop]:
    """The crops of one photograph, sampled from a stream of its own."""
    photo = _photos()[index]
    regions = _regions(photo.image, split)
    generator = torch.Generator().manual_seed(mix_seed("photos", photo.name, split))
    found = []
    for number, (scale, x, y) in enumerate(torch.rand(CROPS[split], 3, generator=generator).tolist()):
        left, top, right, bottom = regions[number % len(regions)]
        side = min(round(size * (1 + (LARGEST - 1) * scale)), _limit(photo.image))
        prepare_folder = (left + int(x * (right - left - side + 1)), top + int(y * (bottom - top - side + 1)))
        found.append(_Crop(index, split, number, (*prepare_folder, prepare_folder[0] + side, prepare_folder[1] + side)))
    return found
