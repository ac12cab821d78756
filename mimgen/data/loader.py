"""Batches in an order that is a pure function of (seed, epoch, index)."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import count

import torch
from torch import Tensor

from mimgen.data.contract import Augmented, Dataset, DerivedDataset, Sample, StreamedDataset
from mimgen.errors import UserError
from mimgen.ops.images import to_float
from mimgen.types import Batch, SampleRNG, mix_seed

__all__ = ["CodedDataset", "Loader", "StreamLoader", "collate", "with_codes"]


class Loader:
    """Reads a data set in shuffled batches, the same ones however many processes share them.

    Epochs follow each other without a gap: a batch may hold the end of one permutation and the
    start of the next, and no sample is ever dropped.

    Args:
        dataset: what is read.
        batch_size: GLOBAL batch size, over all ranks and accumulated micro-batches.
        seed: of the order, of random crops and of `Batch.rng`.
        shuffle: False keeps the order of the data set in every epoch.
        prefetch: steps prepared ahead in a thread; 0 reads when asked. Never changes the order.

    Raises:
        UserError: an empty data set or a batch size below 1.
    """

    def __init__(
        self, dataset: Dataset, batch_size: int, seed: int, *, shuffle: bool = True, prefetch: int = 2
    ) -> None:
        if len(dataset) == 0:
            raise UserError(f"{dataset.name} holds no images; check the split and the folder")
        if batch_size < 1:
            raise UserError(f"batch size {batch_size} is below 1")
        self.dataset, self.batch_size, self.seed = dataset, batch_size, seed
        self.shuffle, self.prefetch = shuffle, prefetch
        # One permutation is asked for by every step of an epoch, two at its seam.
        self._order = lru_cache(maxsize=2)(self._permutation)

    def _permutation(self, epoch: int) -> list[int]:
        if not self.shuffle:
            return list(range(len(self.dataset)))
        generator = torch.Generator().manual_seed(mix_seed(self.seed, "epoch", epoch))
        return torch.randperm(len(self.dataset), generator=generator).tolist()

    def indices(self, step: int) -> list[int]:
        """The `batch_size` samples of step `step`, a pure function of (seed, step)."""
        start = step * self.batch_size
        positions = (divmod(position, len(self.dataset)) for position in range(start, start + self.batch_size))
        return [self._order(epoch)[index] for epoch, index in positions]

    def stream(
        self, start_step: int, *, rank: int = 0, world: int = 1, accumulation: int = 1
    ) -> Iterator[list[Batch]]:
        """From `start_step` on, for each step the `accumulation` micro-batches of this rank.

        Raises:
            UserError: the global batch does not divide into world * accumulation parts.
        """
        slices = _slices(self.batch_size, rank, world, accumulation)

        def prepare(step: int) -> list[Batch]:
            chosen = self.indices(step)
            return [self._batch(step, rows, [chosen[row] for row in rows]) for rows in slices]

        return _ahead(prepare, start_step, self.prefetch)

    def _batch(self, step: int, rows: Sequence[int], indices: Sequence[int]) -> Batch:
        return collate([self._read(step, row, i) for row, i in zip(rows, indices, strict=True)],
                       SampleRNG.for_rows(self.seed, step, rows))  # fmt: skip

    def _read(self, step: int, row: int, index: int) -> Sample:
        if isinstance(self.dataset, Augmented) and self.dataset.augments:
            generator = torch.Generator().manual_seed(mix_seed(self.seed, "augment", step, row))
            return self.dataset.sample(index, generator)
        return self.dataset[index]


class StreamLoader:
    """Batches of a streamed data set.

    The order is weaker than `Loader`'s: it depends on the world size, and a stream that starts at
    a later step reads a fresh shuffle of the shards instead of continuing the old one. See
    `StreamedDataset`.

    Args:
        dataset: what is read.
        batch_size: GLOBAL batch size.
        seed: of the shuffle and of `Batch.rng`.
    """

    def __init__(self, dataset: StreamedDataset, batch_size: int, seed: int) -> None:
        if batch_size < 1:
            raise UserError(f"batch size {batch_size} is below 1")
        self.dataset, self.batch_size, self.seed = dataset, batch_size, seed

    def stream(
        self, start_step: int, *, rank: int = 0, world: int = 1, accumulation: int = 1
    ) -> Iterator[list[Batch]]:
        """As `Loader.stream`; every rank reads its own shards."""
        slices = _slices(self.batch_size, rank, world, accumulation)
        samples = self._endless(mix_seed(self.seed, "start", start_step), rank, world)
        for step in count(start_step):
            yield [
                collate([next(samples) for _ in rows], SampleRNG.for_rows(self.seed, step, rows))
                for rows in slices
            ]

    def _endless(self, seed: int, rank: int, world: int) -> Iterator[Sample]:
        for epoch in count():
            empty = True
            for sample in self.dataset.samples(seed, epoch, rank=rank, world=world):
                empty = False
                yield sample
            if empty:  # else this loop would spin for ever
                raise UserError(f"{self.dataset.name}: the shards of rank {rank} hold no readable image")


@dataclass(frozen=True)
class CodedDataset(DerivedDataset):
    """A data set with cached token ids; made by `with_codes`."""

    codes: Tensor

    def __getitem__(self, index: int) -> Sample:
        plain = self.dataset[index]
        return replace(plain, codes=self.codes[index])


def with_codes(dataset: Dataset, codes: Tensor) -> CodedDataset:
    """`dataset` with cached token ids `codes` [len, h, w] int64, which fill `Batch.codes`.

    Raises:
        UserError: one row of codes is not given for each image, or the images are augmented at
            random, so that codes of one crop would be paired with another.
    """
    if codes.ndim != 3 or len(codes) != len(dataset):
        raise UserError(f"codes have shape {list(codes.shape)}; {dataset.name} needs [{len(dataset)}, h, w]")
    if isinstance(dataset, Augmented) and dataset.augments:
        raise UserError(f"{dataset.name} is cropped or flipped at random; cached codes need a fixed image")
    return CodedDataset(dataset, codes)


def collate(samples: Sequence[Sample], rng: SampleRNG) -> Batch:
    """Join samples to a batch: images to float32 in [0, 1], labels and extras that all of them have."""
    shared = [name for name in samples[0].labels if all(name in sample.labels for sample in samples)]
    extras = [name for name in samples[0].extras if all(name in sample.extras for sample in samples)]
    return Batch(
        images=to_float(torch.stack([sample.image for sample in samples])),
        captions=tuple(sample.caption for sample in samples),
        keys=tuple(sample.key for sample in samples),
        rng=rng,
        labels={name: torch.tensor([sample.labels[name] for sample in samples]) for name in shared},
        codes=_stack([sample.codes for sample in samples]),
        sizes=_stack([sample.conditions for sample in samples]),
        extras={name: to_float(torch.stack([sample.extras[name] for sample in samples])) for name in extras},
    )


def _stack(parts: Sequence[Tensor | None]) -> Tensor | None:
    present = [part for part in parts if part is not None]
    return torch.stack(present) if len(present) == len(parts) else None


def _slices(batch_size: int, rank: int, world: int, accumulation: int) -> list[range]:
    """Global batch positions of each micro-batch of `rank`; contiguous."""
    if batch_size % (world * accumulation):
        raise UserError(
            f"batch size {batch_size} does not divide into {world} processes x {accumulation} "
            f"accumulated micro-batches; choose a multiple of {world * accumulation}"
        )
    size = batch_size // (world * accumulation)  # samples of a micro-batch
    first = rank * accumulation
    return [range((first + micro) * size, (first + micro + 1) * size) for micro in range(accumulation)]


def _ahead(prepare: Callable[[int], list[Batch]], start: int, prefetch: int) -> Iterator[list[Batch]]:
    """prepare(start), prepare(start + 1), ... with `prefetch` of them under way in one thread."""
    if prefetch == 0:
        yield from map(prepare, count(start))
        return
    waiting: deque[Future[list[Batch]]] = deque()
    with ThreadPoolExecutor(1, thread_name_prefix="mimgen-loader") as pool:
        for step in count(start):
            waiting.append(pool.submit(prepare, step))
            # taken in the order of submission, so prefetching cannot change the order
            if len(waiting) > prefetch:
                yield waiting.popleft().result()
