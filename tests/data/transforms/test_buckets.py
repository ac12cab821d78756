"""Aspect buckets: equal token counts, the nearest shape, one shape per batch, every image equally often."""

from __future__ import annotations

import json
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from PIL import Image

from mimgen.data import ImageDataset, open_data
from mimgen.data.transforms import buckets
from mimgen.data.transforms.buckets import (
    BucketedImages,
    BucketLoader,
    bucket_shapes,
    bucketed_codes,
    nearest,
    settle,
)
from mimgen.errors import UserError

SIDES = [(40, 20)] * 5 + [(20, 40)] * 3 + [(30, 30)] * 9  # width, height
SHAPES = bucket_shapes(16, 4)


class Rows(list):
    """A set of which only the buckets are asked for."""

    @property
    def buckets(self) -> list[int]:
        return self


@pytest.fixture
def make_images(tmp_path: Path) -> BucketedImages:
    noise = torch.Generator().manual_seed(0)
    for number, (width, height) in enumerate(SIDES):
        pixels = torch.randint(0, 256, (height, width, 3), generator=noise, dtype=torch.uint8).numpy()
        Image.fromarray(pixels).save(tmp_path / f"{number:02d}.png")
    plain = open_data(str(tmp_path), size=16)
    assert isinstance(plain, ImageDataset)
    return BucketedImages(plain.listing, SHAPES)


@pytest.mark.parametrize(("side", "stride"), [(64, 8), (256, 16), (1024, 32), (16, 4), (8, 8)])
def test_shapes_cost_as_much_as_the_square(side: int, stride: int) -> None:
    shapes = bucket_shapes(side, stride)
    square = (side // stride) ** 2
    for height, width in shapes:
        assert height % stride == width % stride == 0
        assert 0.9 * square <= height * width / stride**2 <= square
        assert max(height, width) <= 2 * min(height, width)
    assert (side, side) in shapes and len(set(shapes)) == len(shapes)
    assert {(width, height) for height, width in shapes} == set(shapes)
    aspects = [width / height for height, width in shapes]
    assert aspects == sorted(aspects)


def test_impossible_shapes() -> None:
    with pytest.raises(UserError, match="choose a multiple of 8"):
        bucket_shapes(60, 8)
    with pytest.raises(UserError, match="at least 1"):
        bucket_shapes(64, 8, widest=0.5)


def test_the_nearest_shape_by_ratio() -> None:
    shapes = [(20, 10), (16, 16), (10, 20)]
    assert [nearest(shapes, w, h) for w, h in [(30, 30), (100, 30), (30, 100), (14, 10), (15, 10)]] == [1, 2, 0, 1, 2]


def test_shapes_that_few_take_are_given_up() -> None:
    shapes = [(20, 10), (18, 12), (16, 16), (10, 20)]
    sides = [(10, 20), (12, 18), *[(30, 30)] * 3, *[(20, 10)] * 5]
    assert settle(shapes, sides, 1) == [0, 1, 2, 2, 2, 3, 3, 3, 3, 3]
    assert settle(shapes, sides, 2) == [1, 1, 2, 2, 2, 3, 3, 3, 3, 3], "two that are near make one together"
    assert settle(shapes, sides, 4) == [2, 2, 2, 2, 2, 3, 3, 3, 3, 3]
    assert settle(shapes, sides, 100) == [3] * 10 and settle(shapes, [], 2) == []


def test_every_bucket_holds_enough(make_images: BucketedImages, monkeypatch: pytest.MonkeyPatch) -> None:
    made = BucketedImages(make_images.listing, SHAPES, minimum=4)
    assert sorted(Counter(made.buckets).values()) == [5, 12] and made[5].image.shape == (3, 16, 16)
    assert made.fingerprint != make_images.fingerprint
    monkeypatch.setattr(buckets, "LONGEST", 4)
    assert min(Counter(BucketedImages(make_images.listing, SHAPES).buckets).values()) >= len(SIDES) / 4


@pytest.mark.parametrize("few", [25, 36, 37, 61, 5000])
def test_no_image_comes_much_more_often_however_rare_its_shape(few: int) -> None:
    count = 100_000
    assert few >= count / buckets.LONGEST
    positions = [0] * few + [1] * (count // 3) + [2] * (count - few - count // 3)
    share = BucketLoader(cast(Any, Rows(positions)), 32, seed=0)._share
    average = sum(share.values()) / count
    sizes = Counter(positions)
    assert all(0.5 <= times / sizes[bucket] / average <= 1.5 for bucket, times in share.items())


def test_images_take_the_shape_of_their_bucket(make_images: BucketedImages) -> None:
    wide, tall, square = make_images[0], make_images[5], make_images[8]
    assert wide.image.shape == (3, 12, 20) and tall.image.shape == (3, 20, 12) and square.image.shape == (3, 16, 16)
    # 40 x 20 cut to 5 : 3 is 33.3 wide, of which 20 pixels remain: 3 of 40 are cut off on the left
    assert wide.conditions is not None
    assert wide.conditions.tolist() == pytest.approx([40, 20, 3 * 20 / (20 * 20 / 12), 0, 6])


def test_exif_turns_the_sides(tmp_path: Path) -> None:
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.new("RGB", (40, 20), "red").save(tmp_path / "a.jpg", exif=turned)
    (tmp_path / "broken.png").write_bytes(b"no picture")
    plain = open_data(str(tmp_path), size=16)
    assert isinstance(plain, ImageDataset)
    made = BucketedImages(plain.listing, SHAPES)
    assert made[0].image.shape == (3, 20, 12)
    assert made[1].image.shape == (3, 16, 16) and made[1].key == "a.jpg", "the next good one, in this one's shape"


def test_a_batch_has_one_shape_and_every_image_comes_equally_often(make_images: BucketedImages) -> None:
    loader = BucketLoader(make_images, 2, seed=3, prefetch=0)
    seen: Counter[int] = Counter()
    steps = sum(loader._share.values())
    for step in range(10 * steps):
        indices = loader.indices(step)
        assert len({make_images.buckets[index] for index in indices}) == 1
        seen.update(indices)
    rates = [seen[index] / (20 * steps / len(SIDES)) for index in range(len(SIDES))]
    assert min(rates) > 0.85 and max(rates) < 1.15
    for batches in islice(loader.stream(0), 6):
        assert batches[0].images.shape[0] == 2
        assert batches[0].sizes is not None


def test_the_order_depends_on_seed_and_step_only(make_images: BucketedImages) -> None:
    loader = BucketLoader(make_images, 4, seed=3)
    straight = [loader.indices(step) for step in range(40)]
    later = BucketLoader(make_images, 4, seed=3)
    assert [later.indices(step) for step in range(25, 40)] == straight[25:]
    assert [BucketLoader(make_images, 4, seed=4).indices(step) for step in range(40)] != straight
    # two processes see the two halves of every batch
    halves = [
        [batch.keys for [batch] in islice(loader.stream(7, rank=rank, world=2), 3)] for rank in (0, 1)
    ]
    whole = [batch.keys for [batch] in islice(loader.stream(7), 3)]
    assert [a + b for a, b in zip(*halves, strict=True)] == whole


def test_codes_have_the_shape_of_the_bucket(make_images: BucketedImages) -> None:
    def encode(images: torch.Tensor) -> torch.Tensor:
        return (torch.nn.functional.avg_pool2d(images, 4)[:, 0] * 255).round().long()

    made = bucketed_codes(make_images, encode, batch_size=2)
    for index in (0, 5, 8):
        codes = made[index].codes
        assert codes is not None
        assert torch.equal(codes, encode(make_images[index].image[None].float() / 255)[0])
    [batch] = next(BucketLoader(made, 3, seed=0).stream(0))
    assert batch.codes is not None and batch.codes.shape[1:] == torch.Size(s // 4 for s in batch.images.shape[2:])


def test_scores_reach_the_micro_conditions(tmp_path: Path) -> None:
    rows = [{"file_name": f"{n}.png", "text": "x", "score": score} for n, score in enumerate((5.5, None, 7))]
    for row in rows:
        Image.new("RGB", (20, 20), "red").save(tmp_path / str(row["file_name"]))
    (tmp_path / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    data = open_data(str(tmp_path), size=16)
    assert isinstance(data, ImageDataset) and data.has_scores
    reported = [data[index].conditions for index in range(3)]
    assert [row[4].item() for row in reported if row is not None] == [5.5, 6.0, 7.0]
    fingerprint = data.fingerprint
    (tmp_path / "metadata.jsonl").write_text("\n".join(json.dumps({**row, "score": 1}) for row in rows))
    assert open_data(str(tmp_path), size=16).fingerprint != fingerprint, "a cache of other scores does not fit"
    (tmp_path / "metadata.jsonl").write_text(json.dumps({**rows[0], "score": "good"}))
    with pytest.raises(UserError, match=r"line 1: the score is 'good'"):
        open_data(str(tmp_path), size=16)
