"""The order of samples depends on the seed and the step, and on nothing else."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import pytest
import torch

from mimgen.data import Dataset, Loader, MemoryDataset, open_data, open_emoji, with_codes
from mimgen.errors import UserError
from mimgen.types import Batch
from tests.data.pictures_on_disk import write_captioned


@pytest.fixture(scope="module")
def emoji() -> MemoryDataset:
    return open_emoji(16, "compose")


def steps(loader: Loader, count: int, start: int = 0, **parts: int) -> list[list[Batch]]:
    return list(islice(loader.stream(start, **parts), count))


def keys(batches: list[Batch]) -> list[str]:
    return [key for batch in batches for key in batch.keys]


def test_every_epoch_is_a_new_permutation_without_gaps(emoji: MemoryDataset) -> None:
    loader = Loader(emoji, 10, 3)
    seen = [index for step in range(50) for index in loader.indices(step)]
    size = len(emoji)
    epochs = [seen[start : start + size] for start in (0, size, 2 * size)]
    assert all(sorted(epoch) == list(range(size)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]


def test_indices_are_a_pure_function(emoji: MemoryDataset) -> None:
    assert Loader(emoji, 8, 1).indices(97) == Loader(emoji, 8, 1).indices(97)
    assert Loader(emoji, 8, 1).indices(97) != Loader(emoji, 8, 2).indices(97)
    assert Loader(emoji, 4, 0, shuffle=False).indices(1) == [4, 5, 6, 7]


def test_a_batch_larger_than_the_set_wraps_round() -> None:
    tiny = MemoryDataset("tiny", "0", torch.zeros(3, 3, 2, 2, dtype=torch.uint8), list("abc"), list("abc"))
    assert sorted(Loader(tiny, 6, 0).indices(0)) == [0, 0, 1, 1, 2, 2]


@pytest.mark.parametrize(("world", "accumulation"), [(1, 1), (1, 4), (2, 1), (2, 2), (4, 3)])
def test_the_global_batch_does_not_depend_on_who_reads(
    emoji: MemoryDataset, world: int, accumulation: int
) -> None:
    whole = steps(Loader(emoji, 24, 5), 3, start=4)
    ranks = [
        steps(
            Loader(emoji, 24, 5, prefetch=rank), 3, start=4, rank=rank, world=world, accumulation=accumulation
        )
        for rank in range(world)
    ]
    for step in range(3):
        parts = [batch for rank in ranks for batch in rank[step]]
        assert len(parts) == world * accumulation
        assert keys(parts) == keys(whole[step])
        assert torch.equal(torch.cat([part.images for part in parts]), whole[step][0].images)
        noise = torch.cat([part.rng.uniform(3) for part in parts])
        assert torch.equal(noise, whole[step][0].rng.__class__(whole[step][0].rng.seeds).uniform(3))


@pytest.mark.parametrize("prefetch", [0, 1, 2, 5])
def test_prefetching_and_resuming_keep_the_order(emoji: MemoryDataset, prefetch: int) -> None:
    straight = [keys(batches) for batches in steps(Loader(emoji, 8, 0, prefetch=0), 6)]
    later = [keys(batches) for batches in steps(Loader(emoji, 8, 0, prefetch=prefetch), 4, start=2)]
    assert later == straight[2:]


def test_a_batch_holds_what_the_samples_hold(emoji: MemoryDataset) -> None:
    loader = Loader(emoji, 5, 0)
    batch = next(loader.stream(2))[0]
    chosen = loader.indices(2)
    assert batch.images.dtype == torch.float32 and float(batch.images.max()) <= 1
    assert torch.equal(batch.images, emoji.images[torch.tensor(chosen)].float() / 255)
    assert list(batch.captions) == [emoji.captions[index] for index in chosen]
    assert torch.equal(batch.labels["subgroup"], emoji.labels["subgroup"][torch.tensor(chosen)])
    assert batch.sizes is not None and batch.sizes.shape == (5, 5) and batch.codes is None


def test_cached_codes_follow_their_images(emoji: MemoryDataset) -> None:
    codes = torch.arange(len(emoji) * 4).view(-1, 2, 2)
    coded = with_codes(emoji, codes)
    loader = Loader(coded, 7, 0)
    batch = next(loader.stream(1))[0]
    assert batch.codes is not None and torch.equal(batch.codes, codes[torch.tensor(loader.indices(1))])
    assert coded.captions == emoji.captions and coded.fingerprint == emoji.fingerprint
    with pytest.raises(UserError, match="needs"):
        with_codes(emoji, codes[1:])


def test_random_crops_do_not_depend_on_who_reads(tmp_path: Path) -> None:
    data = open_data(str(write_captioned(tmp_path / "a", 6)), size=8, flip=True, random_crop=True)
    assert isinstance(data, Dataset)
    whole = steps(Loader(data, 4, 0), 3)
    halves = [steps(Loader(data, 4, 0), 3, rank=rank, world=2) for rank in (0, 1)]
    for step in range(3):
        both = torch.cat([halves[0][step][0].images, halves[1][step][0].images])
        assert torch.equal(both, whole[step][0].images)
    with pytest.raises(UserError, match="at random"):
        with_codes(data, torch.zeros(6, 2, 2, dtype=torch.int64))


def test_errors_of_reading_reach_the_caller(emoji: MemoryDataset) -> None:
    broken = MemoryDataset("broken", "0", emoji.images[:4], list("abcd"), list("ab"))
    with pytest.raises(IndexError):
        steps(Loader(broken, 4, 0), 1)


def test_wrong_arguments(emoji: MemoryDataset) -> None:
    with pytest.raises(UserError, match="multiple of 6"):
        Loader(emoji, 16, 0).stream(0, world=2, accumulation=3)
    with pytest.raises(UserError, match="batch size 0"):
        Loader(emoji, 0, 0)
    empty = MemoryDataset("nothing", "0", emoji.images[:0], [], [])
    with pytest.raises(UserError, match="nothing holds no images"):
        Loader(empty, 4, 0)
