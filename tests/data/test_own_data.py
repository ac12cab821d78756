"""Every form of own data opens, and every mistake in it is a clear error."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from mimgen.data import Dataset, ImageDataset, Loader, describe, open_data
from mimgen.errors import UserError
from tests.data.pictures_on_disk import (
    encoded,
    noise_jpeg,
    write_captioned,
    write_plain,
    write_shards,
)


def open_own(spec: str, *, size: int, split: str | None = None) -> ImageDataset:
    """`open_data` of images that can be read in any order."""
    data = open_data(spec, size=size, split=split)
    assert isinstance(data, ImageDataset)
    return data


def reds(dataset: Dataset) -> list[int]:
    """Which image each sample shows."""
    return [int(dataset[index].image[0].float().mean()) // 10 for index in range(len(dataset))]


def test_metadata_jsonl(tmp_path: Path) -> None:
    data = open_own(str(write_captioned(tmp_path / "a", 6)), size=8)
    assert isinstance(data, Dataset)
    assert data.captions == [f"image {number}" for number in range(6)] and reds(data) == list(range(6))
    assert data[2].image.shape == (3, 8, 8) and data[2].key == "002.png"
    assert data[2].conditions is not None and data[2].conditions[:2].tolist() == [20, 16]


def test_text_beside_images(tmp_path: Path) -> None:
    folder = write_plain(tmp_path / "a", 3)
    (folder / "001.txt").write_text(" a cat \n")
    assert open_own(str(folder), size=8).captions == ["", "a cat", ""]


def test_folder_per_class(tmp_path: Path) -> None:
    write_plain(tmp_path / "a" / "red_fox", 2)
    write_plain(tmp_path / "a" / "cat", 3)
    data = open_own(str(tmp_path / "a"), size=8)
    assert data.label_names == {"class": ["cat", "red_fox"]}
    assert [data[index].labels["class"] for index in range(5)] == [0, 0, 0, 1, 1]
    assert data.captions[-1] == "red fox"


def test_plain_folder_is_unconditional(tmp_path: Path) -> None:
    data = open_own(str(write_plain(tmp_path / "a", 3)), size=8)
    assert data.captions == ["", "", ""] and data.label_names == {}


def test_shards_by_pattern_folder_and_file(tmp_path: Path) -> None:
    pattern = write_shards(tmp_path / "s", 3, 4)
    for spec, count in ((pattern, 12), (str(tmp_path / "s"), 12), (str(tmp_path / "s/part-001.tar"), 4)):
        data = open_own(spec, size=8)
        assert len(data) == count
    data = open_own(pattern, size=8)
    assert reds(data) == list(range(12)) and data.captions[11] == "image 11"
    assert data[4].labels == {"class": 1} and data.label_names == {"class": ["0", "1", "2"]}


def test_saved_dataset_and_parquet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    features = datasets.Features(
        image=datasets.Image(), caption=datasets.Value("string"), kind=datasets.ClassLabel(names=["x", "y"])
    )
    rows = {
        "image": [{"bytes": encoded(number), "path": None} for number in range(4)],
        "caption": list("abcd"),
        "kind": [0, 1, 0, 1],
    }
    table = datasets.Dataset.from_dict(rows, features=features)
    table.save_to_disk(str(tmp_path / "saved"))
    table.to_parquet(str(tmp_path / "t.parquet"))
    for spec in ("saved", "t.parquet"):
        data = open_own(str(tmp_path / spec), size=8)
        assert data.captions == list("abcd") and reds(data) == [0, 1, 2, 3]
        assert data.label_names == {"kind": ["x", "y"]} and data[1].labels == {"kind": 1}
    parts = datasets.DatasetDict(train=table, test=table.select([0]))
    parts.save_to_disk(str(tmp_path / "parts"))
    assert len(open_own(str(tmp_path / "parts"), size=8, split="train")) == 4
    assert len(open_own(str(tmp_path / "parts"), size=8, split="val")) == 1


def test_parquet_without_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    datasets.Dataset.from_dict({"words": ["a"], "n": [1]}).to_parquet(str(tmp_path / "t.parquet"))
    with pytest.raises(UserError, match="columns are words, n"):
        open_own(str(tmp_path / "t.parquet"), size=8)
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(UserError, match="does not load as parquet"):
        open_own(str(tmp_path / "broken.parquet"), size=8)


def test_split_by_key_is_disjoint_and_stable(tmp_path: Path) -> None:
    folder = str(write_plain(tmp_path / "a", 120))
    train, val = (open_own(folder, size=4, split=split) for split in ("train", "val"))
    assert isinstance(train, ImageDataset) and isinstance(val, ImageDataset)
    assert not set(train.keys) & set(val.keys) and len(train) + len(val) == 120
    assert 1 <= len(val) <= 14
    again = open_own(folder, size=4, split="val")
    assert isinstance(again, ImageDataset) and again.keys == val.keys
    assert train.fingerprint != val.fingerprint
    with pytest.raises(UserError, match="compose"):
        open_own(folder, size=4, split="compose")


def test_a_small_set_still_has_a_val_image(tmp_path: Path) -> None:
    folder = str(write_plain(tmp_path / "a", 3))
    assert len(open_own(folder, size=4, split="val")) == 1
    one = str(write_plain(tmp_path / "b", 1))
    with pytest.raises(UserError, match="one image"):
        open_own(one, size=4, split="val")


def test_corrupt_images_are_replaced_counted_and_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = write_captioned(tmp_path / "a", 6)
    (folder / "002.png").write_bytes(b"not a picture")
    (folder / "003.png").write_bytes(noise_jpeg()[:2000])
    with caplog.at_level(logging.WARNING):
        data = open_own(str(folder), size=8)
        assert reds(data) == [0, 1, 4, 4, 4, 5] and reds(data) == [0, 1, 4, 4, 4, 5]
    assert isinstance(data, ImageDataset) and set(data.corrupt) == {"002.png", "003.png"}
    assert caplog.text.count("002.png") == 1 and caplog.text.count("003.png") == 1
    assert data[2].caption == "image 4" and data[2].key == "004.png"
    batch = next(Loader(data, 6, 0, shuffle=False).stream(0))[0]
    assert batch.keys[2] == "004.png"


def test_all_corrupt_is_an_error_that_names_one(tmp_path: Path) -> None:
    folder = write_plain(tmp_path / "a", 3)
    for path in folder.iterdir():
        path.write_bytes(b"no")
    with pytest.raises(UserError, match=r"none of 3 images.*000\.png"):
        open_own(str(folder), size=8)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"file_name": "000.png", "caption": "x"}, "no 'text'; its columns are file_name, caption"),
        ({"image": "000.png", "text": "x"}, "no 'file_name'; its columns are image, text"),
        ({"file_name": "gone.png", "text": "x"}, r"names 1 missing files of 1, for example gone\.png"),
        (["000.png", "x"], "line 1: want"),
    ],
)
def test_wrong_metadata(tmp_path: Path, row: object, message: str) -> None:
    folder = write_plain(tmp_path / "a", 1)
    (folder / "metadata.jsonl").write_text(json.dumps(row) + "\n")
    with pytest.raises(UserError, match=message):
        open_own(str(folder), size=8)


def test_metadata_that_is_not_json_or_empty(tmp_path: Path) -> None:
    folder = write_plain(tmp_path / "a", 1)
    for text, message in (("{file_name:", "line 1 is not JSON"), ("\n", "is empty")):
        (folder / "metadata.jsonl").write_text(text)
        with pytest.raises(UserError, match=message):
            open_own(str(folder), size=8)


def test_empty_folders(tmp_path: Path) -> None:
    (tmp_path / "void").mkdir()
    with pytest.raises(UserError, match=r"no images \(it is empty\)"):
        open_own(str(tmp_path / "void"), size=8)
    (tmp_path / "void" / "a.csv").write_text("x")
    with pytest.raises(UserError, match=r"found: 1 \.csv"):
        open_own(str(tmp_path / "void"), size=8)


def test_paths_that_do_not_exist(tmp_path: Path) -> None:
    write_plain(tmp_path / "images", 1)
    with pytest.raises(UserError, match=r"did you mean .*images"):
        open_own(str(tmp_path / "imags"), size=8)
    with pytest.raises(UserError, match="did you mean emoji"):
        open_own("emojis", size=8)
    with pytest.raises(UserError, match="does not exist either"):
        open_own(str(tmp_path / "no" / "where"), size=8)


def test_missing_and_truncated_shards(tmp_path: Path) -> None:
    write_shards(tmp_path, 2, 4)
    with pytest.raises(UserError, match=r"1 of 3 shards are missing, first .*part-002\.tar"):
        open_own(str(tmp_path / "part-{000..002}.tar"), size=8)
    shard = tmp_path / "part-001.tar"
    content = shard.read_bytes()
    # Inside an image, inside a header, and cleanly between two members.
    for cut in (700, 1536 + 100, 1024):
        shard.write_bytes(content[:cut])
        with pytest.raises(UserError, match=r"part-001\.tar is truncated"):
            open_own(str(tmp_path / "part-{000..001}.tar"), size=8)


def test_size_must_be_positive(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="size 0 is not positive"):
        open_own(str(write_plain(tmp_path / "a", 1)), size=0)


def test_describe(tmp_path: Path) -> None:
    folder = write_captioned(tmp_path / "a", 30)
    (folder / "007.png").write_bytes(b"no")
    facts = describe(str(folder), 8)
    assert (facts["count"], facts["captions"], facts["checked"], facts["corrupt"]) == (30, 30, 30, 1)
    assert facts["corrupt_names"] == ["007.png"] and len(facts["examples"]) == 5
    assert sum(facts["splits"].values()) == 30
    json.dumps(facts)
    emoji = describe("emoji", 16)
    assert emoji["count"] == 3655 and emoji["label_sets"] == {"group": 9, "subgroup": 99}
    stream = describe("stream:" + write_shards(tmp_path / "s", 2, 4), 8)
    assert stream["count"] is None and stream["shards"] == 2 and stream["examples"][0] == "image 0"
