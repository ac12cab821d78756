"""Crops of the photographs at hand: the same everywhere, and train and val share no pixel."""

from __future__ import annotations

import importlib.machinery
import importlib.util

import pytest
import torch

from mimgen.data import Dataset, open_data
from mimgen.data.builtin import photos
from mimgen.data.builtin.photos import CROPS, PhotoDataset, open_photos
from mimgen.errors import UserError


def test_it_is_a_dataset_of_labelled_crops() -> None:
    crops = open_data("photos", size=32)
    assert isinstance(crops, Dataset) and isinstance(crops, PhotoDataset)
    sources = len(crops.label_names["source"])
    assert sources == 17 and len(crops) == sources * sum(CROPS.values())
    assert len(set(crops.keys)) == len(crops)
    first = crops[0]
    assert first.image.shape == (3, 32, 32) and first.image.dtype == torch.uint8
    assert crops.label_names["source"][first.labels["source"]] == first.key.split("-")[0] == "astronaut"
    assert first.conditions is not None and first.conditions[:2].tolist() == [512, 512]
    assert crops.labels["source"].bincount().tolist() == [sum(CROPS.values())] * sources
    with pytest.raises(IndexError):
        crops[len(crops)]


def test_train_and_val_share_no_pixel() -> None:
    train, val = open_photos(64, "train"), open_photos(64, "val")
    assert set(train.splits) == {"train"} and set(val.splits) == {"val"}
    for source, photo in enumerate(photos._photos()):
        seen, held = (torch.zeros(photo.image.size, dtype=torch.bool) for _ in range(2))
        for part, cover in ((train, seen), (val, held)):
            for left, top, right, bottom in (crop.box for crop in part.crops if crop.photo == source):
                cover[left:right, top:bottom] = True
        assert not bool((seen & held).any()), photo.name
        assert seen.float().mean() > 0.4 and held.float().mean() > 0.12, photo.name


def test_crops_lie_inside_and_keep_near_the_asked_scale() -> None:
    crops = open_photos(64, "all")
    for crop in crops.crops:
        left, top, right, bottom = crop.box
        width, height = photos._photos()[crop.photo].image.size
        assert 0 <= left < right <= width and 0 <= top < bottom <= height
        assert right - left == bottom - top and 64 <= right - left <= 128


def test_pixels_are_those_of_the_photograph() -> None:
    crops = open_photos(24, "val")
    deviations = torch.stack([crops[index].image.float() for index in range(0, len(crops), 17)]).std((1, 2, 3))
    assert deviations.median() > 10  # texture, not flat paper
    whole = photos._photos()[0].image
    box = crops.crops[0].box
    mean = torch.tensor(list(whole.crop(box).resize((1, 1), 4).getpixel((0, 0)))).float()
    assert (crops[0].image.float().mean((1, 2)) - mean).abs().max() < 6


def test_the_same_twice_and_named_by_a_fingerprint() -> None:
    assert torch.equal(open_photos(16, "val")[3].image, open_photos(16, "val")[3].image)
    prints = {open_photos(size, split).fingerprint for size in (16, 32) for split in ("train", "val", "all")}
    assert len(prints) == 6
    assert open_photos(16, "val").fingerprint == open_photos(16, "val").fingerprint


def test_any_size_works() -> None:
    assert open_photos(200, "val")[0].image.shape == (3, 200, 200)
    assert open_photos(1)[0].image.shape == (3, 1, 1)


def test_mistakes_name_the_fix(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="choose from train, val, all"):
        open_photos(16, "compose")
    with pytest.raises(UserError, match="not positive"):
        open_photos(0)
    with pytest.raises(UserError, match="random_crop"):
        open_data("photos", size=16, random_crop=True)
    with pytest.raises(UserError, match="did you mean photos"):
        open_data("photo", size=16)

    def absent(name: str) -> importlib.machinery.ModuleSpec | None:
        return None if name == "sklearn" else find(name)

    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", absent)
    photos._photos.cache_clear()
    with pytest.raises(UserError, match=r"sklearn with its china.jpg .*pip install scikit-image scikit-learn"):
        open_photos(16)
    photos._photos.cache_clear()
