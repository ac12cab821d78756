"""Rare classes shown more often: a data set whose pictures are repeated by the size of their class."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from mimgen.data.contract import Augmented, DerivedDataset, Sample
from mimgen.errors import UserError

__all__ = ["BalancedDataset"]


@dataclass(frozen=True)
class BalancedDataset(DerivedDataset):
    """A picture of a class with c pictures occurs round(sqrt(c_max / c)) times, at most `most` times.

    The square root lies halfway between leaving the classes as they are and showing all of them
    equally often (Mahajan et al., arXiv 1805.00932, section 2.2).

    Attributes:
        dataset: the other.
        label: which of its label sets tells the classes.
        most: highest number of repetitions.

    Raises:
        UserError: the data set has no such labels.
    """

    label: str = ""
    most: int = 8

    @cached_property
    def places(self) -> list[int]:
        """For each place of this set the index of the picture in the other one."""
        if self.label not in self.dataset.labels:
            known = ", ".join(self.dataset.labels) or "none at all"
            raise UserError(f"{self.dataset.name} has no labels {self.label!r} to balance by (it has: {known})")
        classes = self.dataset.labels[self.label].tolist()
        counts = Counter(classes)
        largest = max(counts.values())
        times = {name: min(self.most, round((largest / count) ** 0.5)) for name, count in counts.items()}
        return [index for index, name in enumerate(classes) for _ in range(times[name])]

    @property
    def fingerprint(self) -> str:
        return f"{self.dataset.fingerprint}-{self.label}-{self.most}"

    @property
    def captions(self) -> list[str]:
        captions = self.dataset.captions
        return [captions[index] for index in self.places]

    @property
    def labels(self) -> Mapping[str, Tensor]:
        return {name: ids[self.places] for name, ids in self.dataset.labels.items()}

    @property
    def augments(self) -> bool:
        """Whether the other set crops or flips its pictures at random."""
        return bool(getattr(self.dataset, "augments", False))

    def draw(self, index: int, generator: torch.Generator) -> Sample:
        """The picture at place `index`, cropped and flipped at random as the other set does."""
        if not isinstance(self.dataset, Augmented):
            return self[index]
        return self.dataset.draw(self.places[index], generator)

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: int) -> Sample:
        return self.dataset[self.places[index]]
