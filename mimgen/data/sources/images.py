"""A listing whose images are decoded when they are read."""

from __future__ import annotations

import logging

import torch
from torch import Tensor

from mimgen.data.contract import Sample
from mimgen.data.sources.decode import CorruptImage, decode_image
from mimgen.data.sources.listing import Listing, digest
from mimgen.data.transforms.resize import Cut, Square, Transform
from mimgen.errors import UserError

__all__ = ["ImageDataset"]

# After so many corrupt images in a row the set is given up instead of read to its end.
GIVE_UP = 1000

logger = logging.getLogger(__name__)


class ImageDataset:
    """One's own images; see `contract.Dataset`.

    A corrupt image is logged once by name, counted in `corrupt`, and the next good one stands in
    for it, so the number of samples and their order never change. `has_scores` is whether the source has
    preference scores, which are the last of the micro-conditions; else that is the usual score.

    Args:
        listing: what there is.
        transform: how it becomes a square.

    Raises:
        UserError: no image of the listing decodes.
    """

    def __init__(self, listing: Listing, transform: Transform) -> None:
        self.listing, self.transform = listing, transform
        self.name, self.captions, self.keys = listing.name, listing.captions, listing.keys
        self.label_names = listing.label_names
        self.fingerprint = digest([listing.digest, transform])
        self.augments = transform.augments
        self.has_scores = listing.scores is not None
        self.corrupt: dict[str, str] = {}
        self._square(0, None)  # where nothing decodes, fail here and not in a run's first step

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, index: int) -> Sample:
        return self._sample(index, None)

    def sample(self, index: int, generator: torch.Generator) -> Sample:
        """Image `index`, cropped and flipped at random as the transform allows."""
        return self._sample(index, generator)

    @property
    def labels(self) -> dict[str, Tensor]:
        """Named class ids, each [n] int64."""
        return {name: torch.tensor(ids) for name, ids in self.listing.labels.items()}

    def check(self, index: int) -> bool:
        """Whether image `index` decodes; a corrupt one is counted and logged."""
        return self._decode(index, self._transform(index), None) is not None

    def _sample(self, index: int, generator: torch.Generator | None) -> Sample:
        if not 0 <= index < len(self):
            raise IndexError(f"{self.name} holds {len(self)} images; there is no number {index}")
        found, square = self._square(index, generator)
        labels = {name: ids[found] for name, ids in self.listing.labels.items()}
        conditions = square.conditions
        if self.listing.scores is not None:
            conditions = torch.cat([conditions[:4], torch.tensor([self.listing.scores[found]])])
        return Sample(square.image, self.captions[found], labels, self.keys[found], conditions)

    def _square(self, index: int, generator: torch.Generator | None) -> tuple[int, Square]:
        """The first image from `index` on that decodes, and where it lies."""
        tries, transform = min(len(self), GIVE_UP), self._transform(index)
        for candidate in range(index, index + tries):
            found = candidate % len(self)
            square = self._decode(found, transform, generator)
            if square is not None:
                return found, square
        reason = self.corrupt[self.keys[index]]
        raise UserError(f"{self.name}: none of {tries} images can be read; {self.keys[index]}: {reason}")

    def _transform(self, index: int) -> Cut:
        """How image `index`, or the one that stands in for it, is cut."""
        return self.transform

    def _decode(self, index: int, transform: Cut, generator: torch.Generator | None) -> Square | None:
        key = self.keys[index]
        if key in self.corrupt:
            return None
        try:
            return transform(decode_image(self.listing.read(index)), generator)
        except (CorruptImage, OSError) as error:
            self.corrupt[key] = str(error)
            logger.warning("%s: corrupt image %s skipped (%d so far): %s",
                           self.name, key, len(self.corrupt), error)  # fmt: skip
            return None
