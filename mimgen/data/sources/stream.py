"""WebDataset shards behind a pipe or a URL, read from front to back."""

from __future__ import annotations

import logging
import random
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch.utils.data import get_worker_info

from mimgen.data.contract import Sample
from mimgen.data.sources.decode import CorruptImage, decode_image
from mimgen.data.sources.listing import digest
from mimgen.data.sources.shards import caption_of, class_of, expand_braces, image_of, score_in
from mimgen.data.transforms.resize import Transform
from mimgen.errors import UserError
from mimgen.types import mix_seed

__all__ = ["ShardStream", "is_streamed"]

PREFIXES = ("stream:", "pipe:", "http://", "https://", "s3://", "gs://")
SUFFIXES = (".tar.gz", ".tgz")

logger = logging.getLogger(__name__)


def is_streamed(spec: str) -> bool:
    """Whether a data argument can only be read from front to back.

    `stream:` in front of local shards asks for it.
    """
    return spec.startswith(PREFIXES) or spec.endswith(SUFFIXES)


class ShardStream:
    """Shards read with the `webdataset` library; see `contract.StreamedDataset`.

    Each rank reads its share of the shards, and each worker of a torch DataLoader its share of
    those. Shards are shuffled every epoch and samples within a buffer.

    Args:
        spec: brace pattern of local paths, URLs or `pipe:` commands.
        transform: how an image becomes a square.
        buffer: samples shuffled together; 1 keeps the order of the shards.
    """

    def __init__(self, spec: str, transform: Transform, *, buffer: int = 256) -> None:
        self.name = spec
        self.urls = expand_braces(spec.removeprefix("stream:"))
        self.transform, self.buffer = transform, buffer
        self.fingerprint = digest([*self.urls, transform])
        self.label_names: dict[str, list[str]] = {}
        self.corrupt: dict[str, str] = {}

    def samples(self, seed: int, epoch: int, *, rank: int = 0, world: int = 1) -> Iterator[Sample]:
        """The images of one epoch that belong to `rank` of `world` processes.

        Raises:
            UserError: there are fewer shards than readers.
        """
        rng = random.Random(mix_seed(seed, "stream", epoch, rank, world))
        generator = torch.Generator().manual_seed(mix_seed(seed, "augment", epoch, rank, world))
        for members in _shuffled(self._members(self._share(seed, epoch, rank, world)), rng, self.buffer):
            sample = self._sample(members, generator if self.transform.augments else None)
            if sample is not None:
                yield sample

    def _share(self, seed: int, epoch: int, rank: int, world: int) -> list[str]:
        """The shards of this rank and worker, in the order of the epoch."""
        worker = get_worker_info()
        number, workers = (worker.id, worker.num_workers) if worker else (0, 1)
        if len(self.urls) < world * workers:
            raise UserError(
                f"{self.name}: {len(self.urls)} shards cannot be split over {world} processes x "
                f"{workers} workers; write more and smaller shards"
            )
        order = list(self.urls)
        if self.buffer > 1:
            # without the rank: all readers must cut the same order, or two would read one shard
            random.Random(mix_seed(seed, "shards", epoch)).shuffle(order)
        return order[rank * workers + number :: world * workers]

    def _members(self, urls: Sequence[str]) -> Iterator[dict[str, Any]]:
        import webdataset

        # The shards are split already, so both splitters hand on what they get.
        return iter(
            webdataset.WebDataset(
                list(urls),
                shardshuffle=False,
                nodesplitter=lambda source: source,
                workersplitter=lambda source: source,
                handler=self._note_shard,
                empty_check=False,
            )
        )

    def _note_shard(self, error: Exception) -> bool:
        """Log a shard that breaks off and continue with the next."""
        self.corrupt[str(error)] = type(error).__name__
        logger.warning("%s: rest of a shard skipped: %s: %s", self.name, type(error).__name__, error)
        return True

    def _sample(self, members: dict[str, Any], generator: torch.Generator | None) -> Sample | None:
        content, key = image_of(members), members["__key__"]
        if content is None:
            return None
        try:
            square = self.transform(decode_image(content), generator)
        except CorruptImage as error:
            self.corrupt[key] = str(error)
            logger.warning("%s: corrupt image %s skipped: %s", self.name, key, error)
            return None
        label = class_of(members)
        labels = {} if label is None else {"class": label}
        score, conditions = score_in(members, f"{self.name}, {key}"), square.conditions
        if score is not None:
            conditions = torch.cat([conditions[:4], torch.tensor([score])])
        return Sample(square.image, caption_of(members), labels, key, conditions)


def _shuffled(
    source: Iterator[dict[str, Any]], rng: random.Random, buffer: int
) -> Iterator[dict[str, Any]]:
    """Hand out a random member of a buffer that is filled up from `source`."""
    held: list[dict[str, Any]] = []
    for item in source:
        held.append(item)
        if len(held) >= buffer:
            yield held.pop(rng.randrange(len(held)))
    rng.shuffle(held)
    yield from held
