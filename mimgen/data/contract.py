"""What a data set is to the rest of the package."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

__all__ = ["Augmented", "Dataset", "DerivedDataset", "Sample", "StreamedDataset"]


@dataclass(frozen=True)
class Sample:
    """One image and what is known about it.

    Attributes:
        image: [3, size, size] uint8; data that are no images (rasters of many bands, volumes) may have float32
            of any shape, which is handed on as it is.
        caption: its text, empty where there is none.
        labels: named class ids, for example {"group": 3}; indices into `Dataset.label_names`.
        key: its name in the set, unique there.
        conditions: [5] float32 micro-conditions (width, height, crop left, crop top, score) of the
            original file.
        codes: [h, w] int64 cached token ids, when `with_codes` added them.
        extras: further tensors by name, see `Batch.extras`; uint8 ones are images.
    """

    image: Tensor
    caption: str
    labels: Mapping[str, int] = field(default_factory=dict)
    key: str = ""
    conditions: Tensor | None = None
    codes: Tensor | None = None
    extras: Mapping[str, Tensor] = field(default_factory=dict)


@runtime_checkable
class Dataset(Protocol):
    """A set of images that can be read in any order.

    Attributes:
        name: short name for logs and results.
        fingerprint: hash of the list of contents and the transform.
        label_names: the class names of every label set, in the order of their ids.
        captions: one string per image, empty strings where there are none.
        labels: named class ids, each [n] int64.
    """

    @property
    def name(self) -> str: ...

    @property
    def fingerprint(self) -> str: ...

    @property
    def label_names(self) -> dict[str, list[str]]: ...

    @property
    def captions(self) -> list[str]: ...

    @property
    def labels(self) -> Mapping[str, Tensor]: ...

    def __len__(self) -> int:
        """The number of images."""

    def __getitem__(self, index: int) -> Sample:
        """Image `index`, 0 <= index < len."""


@runtime_checkable
class Augmented(Protocol):
    """A data set whose images may be cropped or flipped at random."""

    @property
    def augments(self) -> bool: ...

    def sample(self, index: int, generator: torch.Generator) -> Sample: ...


@dataclass(frozen=True)
class DerivedDataset:
    """What a data set made from another has in common with it; subclasses define a sample.

    Attributes:
        dataset: the other.
    """

    dataset: Dataset

    @property
    def name(self) -> str:
        return self.dataset.name

    @property
    def fingerprint(self) -> str:
        return self.dataset.fingerprint

    @property
    def label_names(self) -> dict[str, list[str]]:
        return self.dataset.label_names

    @property
    def captions(self) -> list[str]:
        return self.dataset.captions

    @property
    def labels(self) -> Mapping[str, Tensor]:
        return self.dataset.labels

    def __len__(self) -> int:
        return len(self.dataset)


@runtime_checkable
class StreamedDataset(Protocol):
    """A set that is read once from front to back, because it lies behind a pipe or a URL.

    Guarantee: with the same shards, seed, world size and epoch the order is the same. It does
    depend on the world size, as every rank reads its own shards, and a resumed run starts at the
    next epoch of the stream. Use local shards where exact resume matters.
    """

    @property
    def name(self) -> str: ...

    @property
    def fingerprint(self) -> str: ...

    @property
    def label_names(self) -> dict[str, list[str]]: ...

    def samples(self, seed: int, epoch: int, *, rank: int = 0, world: int = 1) -> Iterator[Sample]:
        """The images of one epoch that belong to `rank` of `world` processes."""
