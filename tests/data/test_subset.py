"""Subsets: nested, sampled by a seed, and without copies of held-out images."""

import pytest
import torch

from mimgen.data import Loader, MemoryDataset
from mimgen.data.subset import nested_subset, without
from mimgen.errors import UserError


def dataset(count=20, seed=0):
    images = torch.randint(0, 256, (count, 3, 4, 4), generator=torch.Generator().manual_seed(seed)).to(torch.uint8)
    names = [f"{seed}-{i}" for i in range(count)]
    kinds = {"kind": torch.arange(count) % 3}
    return MemoryDataset("toy", f"toy{seed}", images, names, names, kinds, {"kind": ["a", "b", "c"]})


def test_larger_subsets_contain_smaller_ones():
    sizes = [nested_subset(dataset(), count, seed=1) for count in (3, 8, 20)]
    keys = [{part[i].key for i in range(len(part))} for part in sizes]
    assert [len(each) for each in keys] == [3, 8, 20] and keys[0] < keys[1] < keys[2]
    assert nested_subset(dataset(), 8, seed=1).indices == sizes[1].indices
    assert nested_subset(dataset(), 8, seed=2).indices != sizes[1].indices
    assert nested_subset(dataset(), 0, seed=1).indices == sizes[2].indices
    assert len({part.fingerprint for part in (*sizes, dataset())}) == 4


def test_a_subset_is_a_data_set():
    part = nested_subset(dataset(), 5)
    assert part.captions == [part[i].caption for i in range(5)] and part.label_names == {"kind": ["a", "b", "c"]}
    (batch,) = next(Loader(part, 4, seed=0).stream(0))
    assert batch.images.shape == (4, 3, 4, 4)
    with pytest.raises(IndexError, match="5 images"):
        part[5]
    with pytest.raises(UserError, match="holds 20 images: a subset of 21"):
        nested_subset(dataset(), 21)


def test_copies_of_held_out_images_are_left_out():
    train, held = dataset(), dataset(4, seed=1)
    held.images[2] = train.images[7]
    left = without(train, held)
    assert left.indices == tuple(i for i in range(20) if i != 7)
