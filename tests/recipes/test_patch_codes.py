"""Codes of patches: from a folder where it has one for each patch, else centroids of the run's own images."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from mimgen.errors import UserError
from mimgen.recipes import DataConfig
from mimgen.recipes.patch_codes import fit_patch_centroids, load_patch_codes
from mimgen.tokenizers import CentroidTokenizer

IMAGES = DataConfig("emoji", 16)


class Streamed(DataConfig):
    """Images that come one after the other."""

    def open(self) -> Any:
        return SimpleNamespace(name="shards")


@pytest.fixture(scope="module")
def centroids() -> CentroidTokenizer:
    torch.manual_seed(0)
    return fit_patch_centroids(IMAGES, 8, 6, 4)


def test_centroids_have_the_patch_and_the_number(centroids: CentroidTokenizer) -> None:
    assert centroids.codebook_size == 6
    assert centroids.downsample == 8
    ids = centroids.encode(torch.rand(2, 3, 16, 16)).indices
    assert ids.shape[0] == 2 and ids[0].numel() == 4


def test_codes_come_from_the_folder(centroids: CentroidTokenizer, tmp_path: Path) -> None:
    centroids.save_pretrained(tmp_path / "tokenizer")
    loaded: Any = load_patch_codes(str(tmp_path), IMAGES, 8)
    image = torch.rand(1, 3, 16, 16)
    assert torch.equal(loaded.encode(image).indices, centroids.encode(image).indices)


def test_other_patches_are_refused(centroids: CentroidTokenizer, tmp_path: Path) -> None:
    centroids.save_pretrained(tmp_path / "tokenizer")
    with pytest.raises(UserError, match=r"2 x 2 codes an image of 16 px.*--tokenizer"):
        load_patch_codes(str(tmp_path), IMAGES, 4)


def test_a_stream_is_refused() -> None:
    with pytest.raises(UserError, match=r"shards is a stream.*--tokenizer"):
        fit_patch_centroids(Streamed("shards", 16), 8, 6, 4)
