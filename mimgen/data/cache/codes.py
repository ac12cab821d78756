"""Token ids in place of images, so that a generator's training never runs the tokenizer.

Both mirror images of every image are kept: with one alone, half the data would be mirrored for ever.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mimgen.data.contract import Dataset, DerivedDataset, Sample
from mimgen.data.sources.listing import digest
from mimgen.errors import UserError

__all__ = ["CachedCodes", "CodesKey", "check_fixed", "codes_of", "encoded", "fill", "key_of", "weights_hash"]

Encode = Callable[[Tensor], Tensor]  # images [b, 3, S, S] in [0, 1] -> ids [b, h, w] int64


@dataclass(frozen=True)
class CodesKey:
    """What a cache was made from; a cache fits where all four are equal.

    Attributes:
        data: hash of the list of images.
        transform: hash of how they become squares.
        tokenizer: class of the tokenizer.
        weights: hash of its weights.
    """

    data: str
    transform: str
    tokenizer: str
    weights: str


@dataclass(frozen=True)
class CachedCodes(DerivedDataset):
    """A data set read from cached ids instead of images; see `contract.Dataset`.

    Samples have `codes` [h, w] and every fact of the image, but a black `image`: nothing is decoded.

    Attributes:
        dataset: the images, for captions and labels.
        codes: [n, 2, h, w] ids of each image as it is and mirrored; any integer type.
        sources: [n] the image that was really read, another one where a file is corrupt.
        conditions: [n, 5] micro-conditions.
        size: side of the images in pixels.
        flip: mirror half of the samples when a loader reads.
    """

    codes: Any
    sources: Any
    conditions: Any
    size: int
    flip: bool = False

    @property
    def augments(self) -> bool:
        """Whether the generator of `sample` makes a difference."""
        return self.flip

    def __getitem__(self, index: int) -> Sample:
        return self._sample(index, 0)

    def sample(self, index: int, generator: torch.Generator) -> Sample:
        """Image `index`, mirrored or not at random."""
        return self._sample(index, int(self.flip and bool(torch.rand((), generator=generator) < 0.5)))

    def _sample(self, index: int, flip: int) -> Sample:
        if not 0 <= index < len(self):
            raise IndexError(f"{self.name} holds {len(self)} images; there is no number {index}")
        source = int(self.sources[index])
        labels: Mapping[str, Any] = getattr(self.dataset, "labels", {})
        keys = getattr(self.dataset, "keys", None)
        return Sample(
            # one byte, expanded: nobody reads this image, so it takes no memory
            image=torch.zeros(1, 1, 1, dtype=torch.uint8).expand(3, self.size, self.size),
            caption=self.dataset.captions[source],
            labels={name: int(ids[source]) for name, ids in labels.items()},
            key=str(source) if keys is None else keys[source],
            conditions=torch.as_tensor(np.array(self.conditions[index])),
            codes=torch.as_tensor(np.array(self.codes[index, flip]).astype(np.int64)),
        )


def weights_hash(module: nn.Module) -> str:
    """16 hexadecimal digits that stand for every parameter and buffer of a module."""
    running = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        stored = value.detach().cpu().contiguous()
        running.update(f"{name} {stored.dtype} {list(stored.shape)}\0".encode())
        running.update(stored.flatten().view(torch.uint8).numpy().tobytes())
    return running.hexdigest()[:16]


def key_of(dataset: Dataset, size: int, tokenizer: nn.Module) -> CodesKey:
    """What a cache of this data under this tokenizer is known by."""
    listing, transform = getattr(dataset, "listing", None), getattr(dataset, "transform", None)
    return CodesKey(
        data=dataset.fingerprint if listing is None else listing.digest,
        transform=digest([size, transform, "mirrored"]),
        tokenizer=type(tokenizer).__name__,
        weights=weights_hash(tokenizer),
    )


def codes_of(dataset: Dataset, encode: Encode, *, flip: bool = False, batch_size: int = 64) -> CachedCodes:
    """The ids of every image in memory, both mirror images; see `codes_folder` for ids on disk.

    Raises:
        UserError: no images, or images that are cropped or flipped at random.
    """
    check_fixed(dataset)
    first = encoded(dataset, encode, range(min(batch_size, len(dataset))))
    arrays = {name: np.zeros((len(dataset), *value.shape[1:]), value.dtype) for name, value in first.items()}
    fill(arrays, dataset, encode, 0, batch_size, lambda done: None)
    size = dataset[0].image.shape[-1]
    return CachedCodes(dataset, **arrays, size=size, flip=flip)


def fill(
    arrays: Mapping[str, Any],
    dataset: Dataset,
    encode: Encode,
    done: int,
    batch_size: int,
    keep: Callable[[int], None],
) -> None:
    """Write the images from number `done` on into `arrays`; `keep` hears how many are done by then."""
    for start in range(done, len(dataset), batch_size):
        rows = range(start, min(start + batch_size, len(dataset)))
        for name, value in encoded(dataset, encode, rows).items():
            arrays[name][rows.start : rows.stop] = value
        keep(rows.stop)


def encoded(dataset: Dataset, encode: Encode, rows: range) -> dict[str, Any]:
    """The arrays of some images by name: codes [b, 2, h, w], sources [b], conditions [b, 5]."""
    samples = [dataset[row] for row in rows]
    images = torch.stack([sample.image for sample in samples]).float() / 255
    codes = torch.stack([encode(images), encode(images.flip(-1))], dim=1)  # [b, 2, h, w]
    sources = [_source(dataset, row, sample.key) for row, sample in zip(rows, samples, strict=True)]
    side = float(images.shape[-1])
    plain = torch.tensor([side, side, 0.0, 0.0, 6.0])
    conditions = [plain if sample.conditions is None else sample.conditions for sample in samples]
    return {
        "codes": codes.to(torch.int32).cpu().numpy(),
        "sources": np.array(sources, dtype=np.int64),
        "conditions": torch.stack(conditions).float().numpy(),
    }


def _source(dataset: Dataset, row: int, key: str) -> int:
    """The number of the image `key` that was read in place `row`: another one where a file is corrupt."""
    keys = getattr(dataset, "keys", None)
    return row if keys is None or keys[row] == key else list(keys).index(key)


def check_fixed(dataset: Dataset) -> None:
    """Raise a `UserError` for an empty data set, or one whose images change at random."""
    if len(dataset) == 0:
        raise UserError(f"{dataset.name} holds no images; check the split and the folder")
    if getattr(dataset, "augments", False):
        raise UserError(f"{dataset.name} is cropped or flipped at random; cached codes need a fixed image")
