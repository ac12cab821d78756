"""Streamed shards: split over ranks and workers, robust, repeatable."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest
from torch.utils.data import DataLoader, IterableDataset

from mimgen.data import Dataset, ShardStream, StreamedDataset, StreamLoader, Transform, open_data
from mimgen.data.sources.shards import expand_braces
from mimgen.errors import UserError
from tests.data.pictures_on_disk import write_shards


@pytest.fixture
def stream(tmp_path: Path) -> ShardStream:
    return ShardStream("stream:" + write_shards(tmp_path, 4, 5), Transform(8))


def keys(stream: ShardStream, epoch: int = 0, **parts: int) -> list[str]:
    return [sample.key.rpartition("/")[2] for sample in stream.samples(0, epoch, **parts)]


def test_braces() -> None:
    assert expand_braces("a-{08..10}.tar") == ["a-08.tar", "a-09.tar", "a-10.tar"]
    assert expand_braces("{x,y}-{0..1}") == ["x-0", "x-1", "y-0", "y-1"]
    assert expand_braces("plain.tar") == ["plain.tar"]


def test_an_epoch_holds_every_sample_in_a_repeatable_order(stream: ShardStream) -> None:
    assert isinstance(stream, StreamedDataset)
    first = keys(stream)
    assert sorted(first) == [f"{number:05d}" for number in range(20)]
    assert keys(stream) == first and keys(stream, epoch=1) != first
    sample = next(stream.samples(0, 0))
    assert sample.caption == f"image {int(sample.key)}" and sample.image.shape == (3, 8, 8)
    assert sample.labels == {"class": int(sample.key) % 3}


@pytest.mark.parametrize("world", [2, 4])
def test_ranks_share_the_shards(stream: ShardStream, world: int) -> None:
    parts = [keys(stream, rank=rank, world=world) for rank in range(world)]
    assert all(len(part) == 20 // world for part in parts)
    assert sorted(key for part in parts for key in part) == sorted(keys(stream))


def test_more_readers_than_shards_is_an_error(stream: ShardStream) -> None:
    with pytest.raises(UserError, match="4 shards cannot be split over 5 processes"):
        next(stream.samples(0, 0, world=5))


class Keys(IterableDataset):  # type: ignore[type-arg]
    """The keys of a stream, for a torch DataLoader."""

    def __init__(self, stream: ShardStream) -> None:
        self.stream = stream

    def __iter__(self) -> Iterator[str]:
        return iter(keys(self.stream))


def test_workers_share_the_shards(stream: ShardStream) -> None:
    found = list(DataLoader(Keys(stream), batch_size=None, num_workers=2))
    assert sorted(found) == [f"{number:05d}" for number in range(20)]


def test_pipe(tmp_path: Path) -> None:
    write_shards(tmp_path, 2, 3)
    stream = ShardStream(f"pipe:cat {tmp_path}/part-{{000..001}}.tar", Transform(8))
    assert len(keys(stream)) == 6


def test_a_truncated_shard_is_named_and_the_others_are_read(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pattern = write_shards(tmp_path, 2, 5)
    shard = tmp_path / "part-000.tar"
    shard.write_bytes(shard.read_bytes()[:4000])
    stream = ShardStream("stream:" + pattern, Transform(8))
    with caplog.at_level(logging.WARNING):
        found = keys(stream)
    assert set(found) >= {f"{number:05d}" for number in range(5, 10)} and len(found) < 10
    assert "part-000.tar" in caplog.text and stream.corrupt


def test_loader_goes_round_and_keeps_the_global_batch_size(stream: ShardStream) -> None:
    loader = StreamLoader(stream, 8, 0)
    batches = list(islice(loader.stream(0, rank=1, world=2, accumulation=2), 6))
    assert all([len(batch) for batch in step] == [2, 2] for step in batches)
    again = next(StreamLoader(stream, 8, 0).stream(0, rank=1, world=2, accumulation=2))
    assert [batch.keys for batch in again] == [batch.keys for batch in batches[0]]


def test_a_stream_without_images_is_an_error(tmp_path: Path) -> None:
    loader = StreamLoader(ShardStream(f"stream:{tmp_path}/gone.tar", Transform(8)), 2, 0)
    with pytest.raises(UserError, match="no readable image"):
        next(loader.stream(0))


def test_a_streamed_argument_opens_as_a_stream(tmp_path: Path) -> None:
    pattern = write_shards(tmp_path, 2, 4)
    data = open_data("stream:" + pattern, size=8, split="train")
    assert isinstance(data, ShardStream)
    assert not isinstance(data, Dataset)
    assert isinstance(open_data(pattern, size=8), Dataset)
    batch = next(StreamLoader(data, 4, 0).stream(0))[0]
    assert batch.images.shape == (4, 3, 8, 8)
    with pytest.raises(UserError, match="no split 'val'"):
        open_data("stream:" + pattern, size=8, split="val")
