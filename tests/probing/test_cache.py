"""The feature cache: the same numbers as `extract`, computed once, whatever interrupts it."""

import json
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from mimgen.data import Sample
from mimgen.encoders import VitEncoder
from mimgen.errors import UserError
from mimgen.probing import cache_fill, extract
from mimgen.probing.cache import (
    CachedFeatures,
    FeatureKey,
    cached_features,
    check_comparable,
    key_of,
    open_features,
)
from mimgen.types import Tokens

IMAGES = torch.rand(11, 3, 8, 8, generator=torch.Generator().manual_seed(0))


class Counting(nn.Module):
    """Patch means, block i times i + 1, the output times 10; fails at a given call."""

    dim, depth, patch = 3, 2, 4

    def __init__(self, fails_at: int | None = None, broken: bool = False) -> None:
        super().__init__()
        self.calls, self.images, self.fails_at, self.broken = 0, 0, fails_at, broken

    def forward(self, images: Tensor, *, layers: Sequence[int] = ()) -> Tokens:
        self.calls += 1
        self.images += len(images)
        if self.calls == self.fails_at:
            raise KeyboardInterrupt
        patches = nn.functional.avg_pool2d(images, 4).flatten(2).transpose(1, 2)
        if self.broken:
            patches = patches / 0
        prefix = patches.mean(1, keepdim=True) + 100
        return Tokens(patches * 10, (2, 2), prefix, tuple(patches * (layer + 1) for layer in layers))


class Numbered:
    """Eleven images with a label; number 3 is corrupt, and number 4 stands in for it."""

    name, fingerprint, label_names, captions = "numbered", "f00d", {"kind": ["a", "b"]}, [""] * 11

    def __len__(self) -> int:
        return 11

    def __getitem__(self, index: int) -> Sample:
        found = 4 if index == 3 else index
        return Sample((IMAGES[found] * 255).round().to(torch.uint8), "", {"kind": found % 2}, str(found))


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_fill, "_BLOCK", 4)


def key(**changes: object) -> FeatureKey:
    return replace(key_of(IMAGES, model="counting", weights="w", layers=(0, -1, 2)), **changes)


def test_equals_extract_and_is_computed_once(tmp_path: Path) -> None:
    encoder = Counting().train()
    for pooling in ("mean", "grid", "tokens"):
        found = cached_features(tmp_path, key(pooling=pooling), encoder, IMAGES, batch_size=3)
        expected = extract(Counting(), IMAGES, (0, -1, 2), pooling=pooling)
        assert list(found.levels) == [0, 1, 2]
        torch.testing.assert_close(found.joined, expected.joined)
        assert found.grid == (2, 2) and found.pooling == pooling
    assert encoder.training
    before = encoder.calls
    again = cached_features(tmp_path, key(), encoder, IMAGES)
    assert encoder.calls == before
    torch.testing.assert_close(again.joined, extract(Counting(), IMAGES, (0, 1, 2)).joined)
    # the last block under two names is one set of features
    assert cached_features(tmp_path, key(layers=(0, 1, 2)), encoder, IMAGES).folder == again.folder


def test_all_tokens_have_the_prefix_in_front(tmp_path: Path) -> None:
    found = cached_features(tmp_path, key(layers=(), pooling="all"), Counting(), IMAGES)
    assert found.joined.shape == (11, 5, 3) and found.prefix == 1
    torch.testing.assert_close(found.joined[:, 0], IMAGES.mean((2, 3)) + 100)
    with pytest.raises(UserError, match="output only"):
        cached_features(tmp_path, key(layers=(0,), pooling="all"), Counting(), IMAGES)


def test_goes_on_after_an_interruption(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        cached_features(tmp_path, key(), Counting(fails_at=5), IMAGES, batch_size=2)  # 1 probe, 2 a block
    folder = next(tmp_path.iterdir())
    with pytest.raises(UserError, match="resumes where it stopped"):
        open_features(folder)
    encoder, seen = Counting(), []
    found = cached_features(tmp_path, key(), encoder, IMAGES, on_block=lambda done, total: seen.append((done, total)))
    assert encoder.images == 11 - 4  # the first block was kept
    assert seen[-1] == (11, 11)
    torch.testing.assert_close(found.joined, extract(Counting(), IMAGES, (0, 1, 2)).joined)
    assert sorted(path.name for path in folder.iterdir()) == [
        "features.json", "key.json", "layer-0.npy", "layer-1.npy", "layer-2.npy", "lock",
    ]  # fmt: skip


def test_processes_share_the_blocks(tmp_path: Path) -> None:
    fields = {**vars(key(layers=(2,))), "count": 11}
    encoders = [Counting(), Counting()]
    threads = [
        threading.Thread(
            target=cache_fill._share, args=(rank, 2, tmp_path / "f", fields, encoders[rank], IMAGES, 4, print)
        )
        for rank in (0, 1)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = open_features(tmp_path / "f")
    torch.testing.assert_close(found.joined, extract(Counting(), IMAGES).joined)
    assert sum(encoder.images for encoder in encoders) <= 11 + 1  # each once, and the first for its shape


def test_blocks_of_a_lost_process_are_taken_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_fill, "_PATIENCE", 0.1)
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "3")
    found = cached_features(tmp_path, key(), Counting(), IMAGES)
    torch.testing.assert_close(found.joined, extract(Counting(), IMAGES, (0, 1, 2)).joined)


@pytest.mark.slow
def test_workers(tmp_path: Path) -> None:
    encoder = VitEncoder(8, 4, width=8, depth=1, heads=1).eval()
    wanted = key_of(IMAGES, model="vit", weights="w")
    found = cached_features(tmp_path, wanted, encoder, IMAGES, workers=2)
    torch.testing.assert_close(found.joined, extract(encoder, IMAGES).joined)


def test_labels_are_of_the_image_that_was_read(tmp_path: Path) -> None:
    data = Numbered()
    wanted = key_of(data, model="counting", weights="w", split="val")
    assert (wanted.data, wanted.contents, wanted.pixels, wanted.count) == ("numbered", "f00d", 8, 11)
    found = cached_features(tmp_path, wanted, Counting(), data)
    assert found.labels["kind"].tolist() == [0, 1, 0, 0, 0, 1, 0, 1, 0, 1, 0]
    torch.testing.assert_close(found.joined[3], found.joined[4])


def test_half_precision_halves_the_file(tmp_path: Path) -> None:
    found = cached_features(tmp_path, key(precision="float16"), Counting(), IMAGES)
    assert found.joined.dtype == torch.float16
    torch.testing.assert_close(found.joined.float(), extract(Counting(), IMAGES, (0, 1, 2)).joined, rtol=1e-3, atol=0)


def test_every_part_of_the_key_counts(tmp_path: Path) -> None:
    changes = {
        "model": "other", "weights": "v", "data": "d", "contents": "c", "split": "val", "pixels": 9,
        "layers": (1,), "pooling": "grid", "precision": "float16", "count": 12,
    }  # fmt: skip
    assert set(changes) == set(vars(key()))
    assert len({key().folder, *(key(**{name: value}).folder for name, value in changes.items())}) == 1 + len(changes)
    assert key_of(IMAGES + 0.001, model="m", weights="w").contents != key_of(IMAGES, model="m", weights="w").contents


def test_features_of_something_else_are_refused(tmp_path: Path) -> None:
    found = cached_features(tmp_path, key(layers=(0, 1, 2)), Counting(), IMAGES)
    assert found.folder is not None
    with pytest.raises(UserError, match=r"weights \(w and v\)"):
        open_features(found.folder, key(layers=(0, 1, 2), weights="v"))
    check_comparable(key(split="train"), key(split="val", contents="other", count=3))
    with pytest.raises(UserError, match=r"size of the images \(8 and 16\), pooling"):
        check_comparable(key(), key(pixels=16, pooling="grid"))


def test_damage_is_named(tmp_path: Path) -> None:
    found: CachedFeatures = cached_features(tmp_path, key(), Counting(), IMAGES)
    assert found.folder is not None
    (found.folder / "layer-1.npy").write_bytes(b"half a fi")
    with pytest.raises(UserError, match="damaged"):
        open_features(found.folder)
    (found.folder / "features.json").write_text("{", "utf-8")
    with pytest.raises(UserError, match="damaged"):
        open_features(found.folder)


def test_wrong_input_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="NaN or infinite for 4 of 4"):
        cached_features(tmp_path, key(), Counting(broken=True), IMAGES)
    with pytest.raises(UserError, match="layer 3 does not exist"):
        cached_features(tmp_path, key(layers=(3,)), Counting(), IMAGES)
    with pytest.raises(UserError, match="at least one"):
        key_of(IMAGES[:0], model="m", weights="w")
    with pytest.raises(UserError, match="at least 1"):
        cached_features(tmp_path, key(split="x"), Counting(), IMAGES, workers=0)
    monkeypatch.setattr(cache_fill.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 10}))
    with pytest.raises(UserError, match="GiB free"):
        cached_features(tmp_path, key(split="y"), Counting(), IMAGES)


def test_key_file_says_what_it_was_made_from(tmp_path: Path) -> None:
    found = cached_features(tmp_path, key(), Counting(), IMAGES)
    assert found.folder is not None
    output = json.loads((found.folder / "key.json").read_text("utf-8"))
    assert output["model"] == "counting" and output["layers"] == [0, 1, 2] and output["count"] == 11
