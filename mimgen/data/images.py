"""A data set on disk as tensors: what measuring, probing, galleries and reports start from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from mimgen.data.contract import Dataset, Sample
from mimgen.data.open import BUILT_IN, open_data
from mimgen.errors import UserError
from mimgen.ops.images import to_float

__all__ = ["evaluation_split", "evenly_spaced", "load_images", "load_spaced", "open_dataset"]


class _Indexed(Protocol):
    def __getitem__(self, index: int, /) -> Sample:
        """The sample at a position."""


def open_dataset(spec: str, *, size: int, split: str | None = None, purpose: str = "measuring") -> Dataset:
    """Data whose images can be read in any order.

    Args:
        spec: as `open_data` takes it.
        size: side of the images in pixels.
        split: part of the data; everything by default.
        purpose: what the data is opened for, for the error.

    Raises:
        UserError: there is no such data, it is a stream, or it holds no image.
    """
    dataset = open_data(spec, size=size, split=split)
    if not isinstance(dataset, Dataset):
        raise UserError(f"{spec} is a stream; {purpose} needs data on disk")
    if not len(dataset):
        raise UserError(f"{dataset.name} holds no images; check the split and the folder")
    return dataset


def evaluation_split(spec: str) -> str | None:
    """The split to measure on by default: "val" of built-in data, everything of other data."""
    return "val" if spec in BUILT_IN else None


def evenly_spaced(total: int, count: int | None) -> list[int]:
    """`count` positions below `total`, from 0 on with even gaps; all of them with None or where there are fewer."""
    count = total if count is None else min(count, total)
    return [position * total // count for position in range(count)]


def load_images(dataset: _Indexed, indices: Sequence[int]) -> Tensor:
    """[n, 3, S, S] float32 in [0, 1]: the images of a data set at the given positions."""
    return to_float(torch.stack([dataset[int(index)].image for index in indices]))


def load_spaced(dataset: Dataset, count: int | None) -> tuple[Tensor, tuple[str, ...]]:
    """`count` images spread over a data set, [n, 3, S, S] in [0, 1], and their captions; all of them with None."""
    chosen, captions = evenly_spaced(len(dataset), count), dataset.captions
    return load_images(dataset, chosen), tuple(captions[index] for index in chosen)
