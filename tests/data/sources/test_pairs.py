"""Folders of pairs: partners, shared cuts and mirrorings, corrupt files, and mistakes."""

import numpy as np
import pytest
import torch
from PIL import Image

from mimgen.data.contract import Dataset
from mimgen.data.sources.pairs import is_pairs, open_pairs
from mimgen.errors import UserError


@pytest.fixture
def folder(tmp_path):
    """Six pairs of 20 x 12 pixels; the second view is the first one inverted."""
    for number in range(6):
        pixels = np.random.default_rng(number).integers(0, 255, (12, 20, 3), dtype=np.uint8)
        for part, content in (("a", pixels), ("b", 255 - pixels)):
            path = tmp_path / part / "room" / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(content).save(path)
    return tmp_path


def test_partners_come_together(folder):
    assert is_pairs(folder) and not is_pairs(folder / "a") and not is_pairs(folder / "nowhere")
    pairs = open_pairs(folder, size=12)
    assert isinstance(pairs, Dataset) and len(pairs) == 6
    sample = pairs[2]
    assert sample.key == "room/2.png" and sample.image.shape == (3, 12, 12)
    assert torch.equal(sample.extras["second"], 255 - sample.image)
    assert len(open_pairs(folder, size=12, split="train")) + len(open_pairs(folder, size=12, split="val")) == 6


def test_both_are_cut_and_mirrored_alike(folder):
    pairs = open_pairs(folder, size=12, random_crop=True, flip=True)
    assert pairs.augments
    seen = set()
    for seed in range(12):
        sample = pairs.sample(0, torch.Generator().manual_seed(seed))
        assert torch.equal(sample.extras["second"], 255 - sample.image)
        seen.add(sample.image.numpy().tobytes())
    assert len(seen) > 6


def test_a_corrupt_second_image_is_passed_over(folder):
    (folder / "b" / "room" / "1.png").write_bytes(b"no picture")
    pairs = open_pairs(folder, size=12)
    assert pairs[1].key == "room/2.png" and list(pairs.corrupt) == ["room/1.png"]
    for path in (folder / "b").rglob("*.png"):
        path.write_bytes(b"no picture")
    with pytest.raises(UserError, match="none of 6 images"):
        open_pairs(folder, size=12)[0]


def test_mistakes_are_named(folder, tmp_path):
    (folder / "b" / "room" / "3.png").unlink()
    with pytest.raises(UserError, match=r"1 images are in only one.*room/3\.png"):
        open_pairs(folder, size=12)
    with pytest.raises(UserError, match="does not exist"):
        open_pairs(tmp_path / "nowhere", size=12)
    for part in ("a", "b"):
        (tmp_path / "empty" / part).mkdir(parents=True)
    with pytest.raises(UserError, match="holds no images"):
        open_pairs(tmp_path / "empty", size=12)
