"""Other views of a data set: chosen positions, nested parts of growing size, what another set does not hold."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from mimgen.data.contract import Augmented, Dataset, DerivedDataset, Sample
from mimgen.errors import UserError
from mimgen.types import mix_seed

__all__ = ["Subset", "nested_subset", "without"]


@dataclass(frozen=True)
class Subset(DerivedDataset):
    """The images of a data set at the given positions, in their order; a position may occur more than once.

    Attributes:
        indices: positions in the other data set.
    """

    indices: tuple[int, ...] = ()

    @property
    def name(self) -> str:
        return f"{self.dataset.name} ({len(self)} of {len(self.dataset)})"

    @cached_property
    def _fingerprint(self) -> str:
        return hashlib.sha256(f"{self.dataset.fingerprint}/{self.indices}".encode()).hexdigest()[:16]

    @property
    def fingerprint(self) -> str:
        return self._fingerprint

    @property
    def captions(self) -> list[str]:
        captions = self.dataset.captions
        return [captions[index] for index in self.indices]

    @property
    def labels(self) -> Mapping[str, Tensor]:
        return {name: ids[list(self.indices)] for name, ids in self.dataset.labels.items()}

    @property
    def augments(self) -> bool:
        """Whether the other set crops or flips its images at random."""
        return bool(getattr(self.dataset, "augments", False))

    def sample(self, index: int, generator: torch.Generator) -> Sample:
        """The image at position `index`, cropped and flipped at random as the other set does."""
        if not isinstance(self.dataset, Augmented):
            return self[index]
        return self.dataset.sample(self.indices[index], generator)

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Sample:
        if not 0 <= index < len(self):
            raise IndexError(f"{self.name} holds {len(self)} images; there is no number {index}")
        return self.dataset[self.indices[index]]


def nested_subset(dataset: Dataset, count: int, seed: int = 0) -> Subset:
    """`count` images sampled by `seed`; a larger subset with the same seed contains every smaller one.

    Args:
        dataset: what is sampled from.
        count: how many; 0 takes all of them (in the order of the sample).
        seed: of the sample.

    Raises:
        UserError: more images than there are, or a negative number.
    """
    if not 0 <= count <= len(dataset):
        raise UserError(f"{dataset.name} holds {len(dataset)} images: a subset of {count} cannot be sampled")
    order = torch.randperm(len(dataset), generator=torch.Generator().manual_seed(mix_seed(seed, "subset")))
    # a prefix of one permutation, so that subsets are nested
    return Subset(dataset, tuple(order[: count or len(dataset)].tolist()))


def without(dataset: Dataset, held_out: Dataset) -> Subset:
    """The images of `dataset` of which `held_out` has no exact copy, by their pixels."""
    known = {_digest(held_out[index]) for index in range(len(held_out))}
    return Subset(dataset, tuple(i for i in range(len(dataset)) if _digest(dataset[i]) not in known))


def _digest(sample: Sample) -> bytes:
    return hashlib.sha256(sample.image.contiguous().numpy().tobytes()).digest()
