"""Rare classes are shown more often, everything else about the data stays."""

from __future__ import annotations

from collections import Counter

import pytest
import torch

from mimgen.data import Loader, MemoryDataset, balanced, with_codes
from mimgen.errors import UserError


def make_images(classes: list[int]) -> MemoryDataset:
    count = len(classes)
    return MemoryDataset(
        name="made",
        fingerprint="made",
        images=torch.arange(count, dtype=torch.uint8)[:, None, None, None].expand(-1, 3, 4, 4),
        captions=[f"image {i}" for i in range(count)],
        keys=[str(i) for i in range(count)],
        labels={"kind": torch.tensor(classes)},
        label_names={"kind": ["common", "rare", "single"]},
    )


CLASSES = [0] * 64 + [1] * 16 + [2]


def test_repetitions_follow_the_square_root_up_to_the_limit() -> None:
    shown = balanced(make_images(CLASSES), "kind", maximum=5)
    times = Counter(shown.indices)
    assert {times[i] for i in range(64)} == {1}
    assert {times[i] for i in range(64, 80)} == {2}  # sqrt(64 / 16)
    assert times[80] == 5  # sqrt(64) = 8, limited
    assert len(shown) == 64 + 32 + 5


def test_samples_captions_labels_and_codes_stay_together() -> None:
    codes = torch.arange(81)[:, None, None].expand(-1, 2, 2)
    shown = balanced(with_codes(make_images(CLASSES), codes), "kind")
    for position in (0, 63, 64, len(shown) - 1):
        sample, source = shown[position], shown.indices[position]
        assert sample.caption == shown.captions[position] == f"image {source}"
        assert sample.labels["kind"] == shown.labels["kind"][position] == CLASSES[source]
        assert sample.codes is not None and int(sample.codes[0, 0]) == source
    assert shown.fingerprint != make_images(CLASSES).fingerprint


def test_an_epoch_shows_every_place_once() -> None:
    shown = balanced(make_images(CLASSES), "kind")
    batches = Loader(shown, 8, 0, prefetch=0)
    seen = [i for step in range(len(shown)) for i in batches.indices(step)]
    assert Counter(seen[: len(shown)]) == Counter(range(len(shown)))


def test_augmented_images_are_still_drawn() -> None:
    class Flipping(MemoryDataset):
        augments = True

        def sample(self, index: int, generator: torch.Generator) -> object:
            return ("drawn", index)

    plain = make_images(CLASSES)
    flipping = Flipping(
        plain.name, "made", plain.images, plain.captions, plain.keys, labels=plain.labels, label_names=plain.label_names
    )
    shown = balanced(flipping, "kind")
    assert shown.augments
    assert shown.sample(len(shown) - 1, torch.Generator()) == ("drawn", 80)


def test_labels_that_do_not_exist_are_named() -> None:
    with pytest.raises(UserError, match="kind"):
        balanced(make_images(CLASSES), "group")
