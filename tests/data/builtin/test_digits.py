"""scikit-learn's digits as a data set."""

from __future__ import annotations

import pytest
import torch

from mimgen.data import Dataset
from mimgen.data.builtin.digits import open_digits
from mimgen.errors import UserError


def test_images_and_labels_are_those_of_scikit_learn():
    datasets = pytest.importorskip("sklearn.datasets")
    true = datasets.load_digits()
    data = open_digits(8)
    expected = (torch.from_numpy(true.images).float() * 255 / 16).round().to(torch.uint8)
    assert torch.equal(data.images, expected[:, None].expand(-1, 3, -1, -1))
    assert data.labels["digit"].tolist() == true.target.tolist()
    assert isinstance(data, Dataset)


def test_splits_share_nothing_and_hold_every_digit():
    whole, train, val = (open_digits(8, split) for split in (None, "train", "val"))
    assert train.keys + val.keys == whole.keys and len(set(whole.keys)) == len(whole) == 1797
    assert len(train) == 1348 and len(val) == 449
    assert torch.equal(torch.cat([train.images, val.images]), whole.images)
    assert len(train.labels["digit"].unique()) == len(val.labels["digit"].unique()) == 10
    assert len({whole.fingerprint, train.fingerprint, val.fingerprint, open_digits(16).fingerprint}) == 4


def test_other_sizes_keep_the_mean():
    small, large = open_digits(8, "val"), open_digits(32, "val")
    assert large.images.shape == (449, 3, 32, 32)
    assert abs(float(small.images.float().mean() - large.images.float().mean())) < 3
    assert large[3].caption == f"handwritten digit {large.label_names['digit'][large[3].labels['digit']]}"


@pytest.mark.parametrize(("arguments", "fix"), [((0, None), "positive"), ((8, "compose"), "train, val, all")])
def test_mistakes_name_the_fix(arguments: tuple, fix: str):
    with pytest.raises(UserError, match=fix):
        open_digits(*arguments)
