"""The images, labels and masks that `mimgen probe` fits on and tests on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mimgen.data.images import load_images, open_dataset
from mimgen.data.subset import Subset
from mimgen.errors import UserError, choose

if TYPE_CHECKING:
    from torch import Tensor


__all__ = ["ProbeData", "SplitPart", "load_masks", "own_masks", "probe_data"]

_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")


class SplitPart(Subset):
    """Some images of a data set."""

    @cached_property
    def images(self) -> Tensor:
        """[n, 3, S, S] in [0, 1], decoded once."""
        return load_images(self, range(len(self)))


@dataclass(frozen=True)
class ProbeData:
    """Two splits with one label of each image.

    Attributes:
        train: the images that fit a probe.
        test: those that it is tested on.
        label: name of the label set.
        names: names of the classes.
        train_y: [n] int64.
        test_y: [m] int64.
        facts: JSON: everything two results must share to be comparable, as far as it concerns the data.
        notes: what a reader must be told, such as images that were left out.
    """

    train: SplitPart
    test: SplitPart
    label: str
    names: Sequence[str]
    train_y: Tensor
    test_y: Tensor
    facts: dict[str, Any]
    notes: tuple[str, ...]


def probe_data(
    spec: str,
    size: int,
    *,
    label: str | None = None,
    splits: tuple[str, str] = ("train", "val"),
    limit: int | None = None,
) -> ProbeData:
    """Open two splits of a data set and the label that is to be read off.

    Args:
        spec: the data, as `mimgen.data.open_data` takes it.
        size: side of the images.
        label: name of the label set; by default the last, which is the finest.
        splits: of train and test.
        limit: only so many images of each split, evenly spread.

    Raises:
        UserError: streamed data, no such label, or a split in which no image has it.
    """
    parts, labels, notes = [], [], []
    for split in splits:
        dataset = open_dataset(spec, size=size, split=split, purpose="probing")
        label = _label(dataset.label_names, label, spec)
        ids = dataset.labels[label]
        known = [row for row, value in enumerate(ids.tolist()) if value >= 0]
        if not known:
            raise UserError(f"no image of {spec}, split {split}, has a label {label!r}; choose another with --label")
        if len(known) < len(ids):
            missing = len(ids) - len(known)
            notes.append(f"{missing} of {len(ids)} images of {split} have no {label!r} and were left out")
        step = 1 if limit is None else max(1, len(known) // limit)
        rows = tuple(known[::step][:limit])
        parts.append(SplitPart(dataset, rows))
        labels.append(ids[list(rows)])
    facts = {
        "data": spec, "label": label, "train": splits[0], "test": splits[1], "limit": limit, "pixels": size,
        "n": len(parts[0]), "test_n": len(parts[1]), "fingerprints": [part.fingerprint for part in parts],
    }  # fmt: skip
    assert label is not None
    names = parts[0].dataset.label_names[label]
    return ProbeData(
        train=parts[0],
        test=parts[1],
        label=label,
        names=names,
        train_y=labels[0],
        test_y=labels[1],
        facts=facts,
        notes=tuple(notes),
    )


def own_masks(part: SplitPart, spec: str) -> Tensor:
    """[n, S, S] int64 classes of pixels that come with the data themselves, as in the scenes.

    Raises:
        UserError: these data have none.
    """
    import torch

    found = [part[row].extras.get("segmentation") for row in range(len(part))]
    masks = [mask for mask in found if mask is not None]
    if len(masks) < len(found) or not masks:
        raise UserError(f"{spec} has no masks of its own for segment-knn and segment-linear: pass --masks FOLDER")
    return torch.stack(masks).long()


def load_masks(folder: Path, part: SplitPart) -> Tensor:
    """[n, S, S] int64 classes of pixels, -1 where a mask says 255: FOLDER/KEY.png of each image.

    The key of a file is its path, whose own suffix is replaced: cats/one.jpg has the mask FOLDER/cats/one.png.

    A mask is a greyscale or palette image of class numbers, as ADE20K and Pascal VOC have them. It is
    brought to the size of the images as they are (shorter side, centre crop) without mixing classes.

    Raises:
        UserError: no folder, or a mask is missing or not of class numbers.
    """
    import torch

    if not folder.is_dir():
        raise UserError(f"--masks {folder}: no such folder; give one with a PNG of class numbers per image, KEY.png")
    size = int(part[0].image.shape[-1])
    keys = [part[row].key for row in range(len(part))]
    stems = [key.rsplit(".", 1)[0] if key.lower().endswith(_SUFFIXES) else key for key in keys]
    return torch.stack([_mask(folder / f"{stem}.png", size) for stem in stems])


def _mask(path: Path, size: int) -> Tensor:
    import numpy as np
    import torch
    from PIL import Image

    if not path.is_file():
        raise UserError(f"--masks: {path} is missing; every image needs a mask named by its key")
    with Image.open(path) as stored:
        if stored.mode not in ("L", "P", "1", "I;16", "I"):
            raise UserError(f"--masks: {path} is a {stored.mode} image; class numbers are greyscale or palette")
        width, height = stored.size
        scale = size / min(width, height)
        sides = (max(size, round(width * scale)), max(size, round(height * scale)))
        grown = stored.resize(sides, Image.Resampling.NEAREST)
        left, top = (grown.width - size) // 2, (grown.height - size) // 2
        values = torch.from_numpy(np.array(grown.crop((left, top, left + size, top + size))).astype(np.int64))
    return torch.where(values == 255, -1, values)


def _label(known: dict[str, list[str]], requested: str | None, spec: str) -> str:
    if not known:
        raise UserError(f"{spec} has no labels to probe; a folder with one sub-folder per class has, and so has emoji")
    return next(reversed(known)) if requested is None else choose(requested, list(known), "label")
