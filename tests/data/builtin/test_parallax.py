"""Stereo pairs: the same everywhere, and a disparity that maps one view onto the other."""

import pytest
import torch

from mimgen.data.builtin.parallax import COUNTS, Layer, open_parallax, render
from mimgen.data.contract import Dataset
from mimgen.data.loader import Loader
from mimgen.errors import UserError


def test_it_is_a_dataset_of_pairs():
    pairs = open_parallax(32, "val")
    assert isinstance(pairs, Dataset) and len(pairs) == COUNTS["val"] == len(set(pairs.keys))
    sample = pairs[3]
    assert sample.image.shape == sample.extras["second"].shape == (3, 32, 32)
    assert sample.image.dtype == sample.extras["second"].dtype == torch.uint8
    assert sample.extras["disparity"].shape == (1, 32, 32) and sample.extras["disparity"].dtype == torch.float32
    assert {name: int(ids[3]) for name, ids in pairs.labels.items()} == sample.labels
    assert pairs.labels["nearest"].bincount().min() > 100
    batch = next(Loader(pairs, 4, 0, prefetch=0).stream(0))[0]
    assert batch.extras["second"].shape == (4, 3, 32, 32) and float(batch.extras["second"].max()) <= 1
    assert batch.extras["disparity"].shape == (4, 1, 32, 32)
    with pytest.raises(IndexError):
        pairs[len(pairs)]


def test_the_set_is_the_same_everywhere():
    first, second = open_parallax(32, "val"), open_parallax(32, "val")
    assert torch.equal(first[5].image, second[5].image) and first.fingerprint == second.fingerprint
    assert first.fingerprint != open_parallax(48, "val").fingerprint
    assert not torch.equal(first[5].image, open_parallax(32, "train")[5].image)


def test_disparity_maps_the_first_view_onto_the_second():
    """Whole pixels: every visible point of the first view is found that far left in the second."""
    size = 32
    layers = (Layer("square", 0.5, 0.5, 0.25, 4 / size),)
    first, second, disparity = render(7, 0.0, layers, size)
    assert sorted(disparity.unique().tolist()) == [0, 4]
    inside = disparity[0] == 4
    assert int(inside.sum()) == 16 * 16
    rows, columns = inside.nonzero().unbind(1)
    difference = first[:, rows, columns].int() - second[:, rows, columns - 4].int()
    assert int(difference.abs().max()) <= 1
    assert torch.equal(first[..., 26:], second[..., 26:]), "the wall stays"
    assert not torch.equal(first[:, 10:20, 10:20], second[:, 10:20, 10:20])


def test_the_nearest_is_in_front():
    layers = (Layer("circle", 0.5, 0.5, 0.3, 0.1), Layer("diamond", 0.5, 0.5, 0.15, 0.2))
    _, _, disparity = render(1, 0.0, layers, 40)
    assert float(disparity[0, 20, 20]) == pytest.approx(8) and float(disparity[0, 20, 10]) == pytest.approx(4)
    for pair in open_parallax(32, "val").items[:50]:
        distances = [layer.disparity for layer in pair.layers]
        assert distances == sorted(distances) and pair.wall < distances[0]


def test_bad_sizes_and_splits_are_refused():
    with pytest.raises(UserError, match="no split 'test'"):
        open_parallax(64, "test")
    with pytest.raises(UserError, match="16 pixels"):
        open_parallax(8, "val")
