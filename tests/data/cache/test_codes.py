"""Cached codes: both mirror images, the key, continuing after an interruption."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from mimgen.data import Dataset, Loader, open_data
from mimgen.data.cache.codes import codes_of, key_of, weights_hash
from mimgen.data.cache.codes_folder import cache_codes, open_codes
from mimgen.errors import UserError


def encode(make_images: Tensor) -> Tensor:
    """[b, 2, 2] ids: the red of each quarter."""
    return (nn.functional.avg_pool2d(make_images, 4)[:, 0] * 255).round().long()


@pytest.fixture
def make_images(tmp_path: Path) -> Dataset:
    folder = tmp_path / "images"
    folder.mkdir()
    noise = torch.Generator().manual_seed(0)
    for number in range(7):
        pixels = torch.randint(0, 256, (8, 8, 3), generator=noise, dtype=torch.uint8).numpy()
        Image.fromarray(pixels).save(folder / f"{number}.png")
        (folder / f"{number}.txt").write_text(f"image {number}")
    data = open_data(str(folder), size=8)
    assert isinstance(data, Dataset)
    return data


def true(data: Dataset, index: int, flip: bool) -> Tensor:
    image = data[index].image.float() / 255
    return encode((image.flip(-1) if flip else image)[None])[0]


def test_both_mirror_images_are_kept(tmp_path: Path, make_images: Dataset) -> None:
    model = nn.Linear(2, 2)
    key = key_of(make_images, 8, model)
    cache_codes(tmp_path / "codes", make_images, encode, key, batch_size=3)
    cached = open_codes(tmp_path / "codes", make_images, key)
    assert isinstance(cached, Dataset)
    for index in range(7):
        assert torch.equal(cached[index].codes, true(make_images, index, False))
        assert torch.equal(torch.tensor(cached.codes[index, 1]).long(), true(make_images, index, True))
        assert cached[index].caption == f"image {index}"
        assert torch.equal(cached[index].conditions, make_images[index].conditions)
    assert cached.codes.flags.writeable is False
    assert not list((tmp_path / "codes").glob("*partial*"))
    memory = codes_of(make_images, encode, batch_size=4)
    assert np.array_equal(memory.codes, cached.codes)


def test_flips_follow_the_rows_draws(tmp_path: Path, make_images: Dataset) -> None:
    cached = codes_of(make_images, encode, flip=True)
    batches = [next(iter(Loader(cached, 64, seed=0, prefetch=0).stream(0)))[0] for _ in range(2)]
    assert torch.equal(batches[0].codes, batches[1].codes)
    order = Loader(cached, 64, seed=0).indices(0)
    mirrored = [torch.equal(row, true(make_images, i, True)) for row, i in zip(batches[0].codes, order, strict=True)]
    straight = [torch.equal(row, true(make_images, i, False)) for row, i in zip(batches[0].codes, order, strict=True)]
    assert all(a != b for a, b in zip(mirrored, straight, strict=True))
    assert 16 < sum(mirrored) < 48
    plain = next(iter(Loader(codes_of(make_images, encode), 64, seed=0, prefetch=0).stream(0)))[0]
    assert torch.equal(plain.codes, torch.stack([true(make_images, i, False) for i in order]))
    assert batches[0].images.shape == (64, 3, 8, 8)


def test_an_interrupted_cache_goes_on(tmp_path: Path, make_images: Dataset) -> None:
    key, calls = key_of(make_images, 8, nn.Linear(2, 2)), []

    def stop(done: int, total: int) -> None:
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cache_codes(tmp_path / "codes", make_images, encode, key, batch_size=2, on_batch=stop)
    with pytest.raises(UserError, match="not finished"):
        open_codes(tmp_path / "codes", make_images, key)

    def counted(images: Tensor) -> Tensor:
        calls.append(len(images))
        return encode(images)

    cache_codes(tmp_path / "codes", make_images, counted, key, batch_size=2)
    assert sum(calls) == 2 * 3, "the four images done are not encoded again"
    cached = open_codes(tmp_path / "codes", make_images, key)
    assert all(torch.equal(cached[i].codes, true(make_images, i, False)) for i in range(7))
    cache_codes(tmp_path / "codes", make_images, counted, key)
    assert sum(calls) == 2 * 3, "a finished cache is left as it is"


def test_what_does_not_fit_is_refused(tmp_path: Path, make_images: Dataset) -> None:
    model, folder = nn.Linear(2, 2), tmp_path / "codes"
    cache_codes(folder, make_images, encode, key_of(make_images, 8, model))
    other = nn.Linear(2, 2)
    with pytest.raises(UserError, match="another weights of the tokenizer"):
        open_codes(folder, make_images, key_of(make_images, 8, other))
    with pytest.raises(UserError, match="another weights of the tokenizer"):
        cache_codes(folder, make_images, encode, key_of(make_images, 8, other))
    larger = open_data(str(tmp_path / "images"), size=16)
    assert isinstance(larger, Dataset)
    with pytest.raises(UserError, match="another size or crop"):
        open_codes(folder, larger, key_of(larger, 16, model))
    (tmp_path / "images" / "6.png").unlink()
    fewer = open_data(str(tmp_path / "images"), size=8)
    assert isinstance(fewer, Dataset)
    with pytest.raises(UserError, match="another images"):
        open_codes(folder, fewer, key_of(fewer, 8, model))
    with pytest.raises(UserError, match="cache-codes"):
        open_codes(tmp_path, make_images, key_of(make_images, 8, model))


def test_random_crops_are_refused(make_images: Dataset) -> None:
    cropped = open_data(make_images.name, size=8, random_crop=True)
    assert isinstance(cropped, Dataset)
    with pytest.raises(UserError, match="at random"):
        codes_of(cropped, encode)


def test_a_corrupt_image_keeps_caption_and_codes_together(tmp_path: Path, make_images: Dataset) -> None:
    (tmp_path / "images" / "3.png").write_bytes(b"broken")
    data = open_data(make_images.name, size=8)
    assert isinstance(data, Dataset)
    cached = codes_of(data, encode)
    assert cached[3].caption == "image 4"
    assert torch.equal(cached[3].codes, cached[4].codes)


def test_weights_hash_sees_every_number() -> None:
    model = nn.Linear(2, 2)
    before = weights_hash(model)
    assert weights_hash(model) == before
    with torch.no_grad():
        model.bias[1] += 1e-6
    assert weights_hash(model) != before
