"""What every run shares: its images, its size, its loader."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor

from mimgen.data import (
    Dataset,
    Loader,
    Sample,
    StreamedDataset,
    StreamLoader,
    Subset,
    balanced,
    open_data,
    training_split,
)
from mimgen.data.transforms.buckets import BucketedCodes, BucketedImages, BucketLoader
from mimgen.errors import UserError
from mimgen.training import Settings

N_PREVIEWS = 8  # images in the grids that a run logs

Size = TypeVar("Size")
Value = TypeVar("Value")


@dataclass(frozen=True)
class DataConfig:
    """Where a run's images come from.

    Attributes:
        spec: "emoji", "photos", a folder, shards or a saved dataset; see `mimgen.data.open_data`.
        size: side in pixels.
        split: None takes "train" of built-in data and everything of other data.
    """

    spec: str = "emoji"
    size: int = 64
    split: str | None = None

    def __post_init__(self) -> None:
        if self.size < 1:
            raise UserError(f"images of {self.size} pixels per side: give at least 1, such as 64")

    def open(self) -> Dataset | StreamedDataset:
        """Open the data."""
        return open_data(self.spec, size=self.size, split=self.split or training_split(self.spec))


def class_balanced(dataset: Dataset | StreamedDataset, label: str) -> Subset:
    """The data balanced by the classes of `label`.

    Raises:
        UserError: the data is streamed, so its classes are not known beforehand, or has no such labels.
    """
    if not isinstance(dataset, Dataset):
        raise UserError(f"{dataset.name} is a stream, whose classes are not known: leave out --balance")
    return balanced(dataset, label)


def value_or(value: Value | None, default: Value) -> Value:
    """`value`, or `default` where it was left out; 0 is a value, which its reader may refuse."""
    return default if value is None else value


def choose_size(sizes: Mapping[str, Size], name: str) -> Size:
    """The entry `name` of a config's table of sizes; a UserError lists them where there is none."""
    if name not in sizes:
        raise UserError(f"size {name!r} does not exist; choose from {', '.join(sizes)}")
    return sizes[name]


def record(name: str, size: str, data_config: DataConfig, options: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """What the checkpoints say about a run: facts that must not change while it resumes."""
    return {**options, "name": name, "size": size, "data": data_config.spec, "pixels": data_config.size, **more}


def loader(dataset: Dataset | StreamedDataset, settings: Settings) -> Loader | StreamLoader:
    """The batches of a run."""
    if isinstance(dataset, BucketedImages | BucketedCodes):
        return BucketLoader(dataset, settings.batch_size, settings.seed)
    if isinstance(dataset, Dataset):
        return Loader(dataset, settings.batch_size, settings.seed)
    return StreamLoader(dataset, settings.batch_size, settings.seed)


def preview_samples(dataset: Dataset | StreamedDataset, count: int = N_PREVIEWS) -> list[Sample]:
    """Up to `count` samples, spread over the set where that is possible.

    Raises:
        UserError: there is none.
    """
    if not isinstance(dataset, Dataset):
        return [sample for sample, _ in zip(dataset.samples(0, 0), range(count))]
    if not len(dataset):
        raise UserError(f"{dataset.name} holds no images; check the split and the folder")
    step = max(1, len(dataset) // count)
    return [dataset[index] for index in range(0, len(dataset), step)][:count]


def stack_images(samples: list[Sample]) -> Tensor:
    """[n, 3, S, S] float32 in [0, 1]."""
    return torch.stack([sample.image for sample in samples]).float() / 255
