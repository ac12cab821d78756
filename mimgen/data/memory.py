"""A data set that lies in memory as one tensor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from mimgen.data.contract import Sample

__all__ = ["MemoryDataset"]

# Aesthetic score written into the micro-conditions where none is known; what Meissonic asks for
# when it generates.
SCORE = 6.0


@dataclass(frozen=True)
class MemoryDataset:
    """Decoded images with their captions and labels; see `contract.Dataset`.

    Attributes:
        images: [n, 3, size, size] uint8.
        captions: n strings.
        keys: n unique names.
        labels: named class ids, each [n] int64.
        splits: n names of the split each image belongs to; empty where that is unknown.
    """

    name: str
    fingerprint: str
    images: Tensor
    captions: list[str]
    keys: list[str]
    labels: Mapping[str, Tensor] = field(default_factory=dict)
    label_names: dict[str, list[str]] = field(default_factory=dict)
    splits: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Sample:
        if not 0 <= index < len(self):
            raise IndexError(f"{self.name} holds {len(self)} images; there is no number {index}")
        height, width = self.images.shape[-2:]
        return Sample(
            image=self.images[index],
            caption=self.captions[index],
            labels={name: int(ids[index]) for name, ids in self.labels.items()},
            key=self.keys[index],
            conditions=torch.tensor([width, height, 0.0, 0.0, SCORE]),
        )
