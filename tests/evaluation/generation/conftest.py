"""Folders of small images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mimgen.ops.images import to_uint8

Maker = Callable[..., Path]


@pytest.fixture
def folder_of(tmp_path: Path) -> Maker:
    """make(name, n, seed, red=0.5, side=32) writes n smooth random .png images and returns the folder."""

    def make(name: str, n: int, seed: int, red: float = 0.5, side: int = 32) -> Path:
        rng = torch.rand(n, 3, 4, 4, generator=torch.Generator().manual_seed(seed))
        rng[:, 0] = (rng[:, 0] + red - 0.5).clamp(0, 1)
        images = to_uint8(torch.nn.functional.interpolate(rng, (side, side), mode="bilinear"))
        folder = tmp_path / name
        folder.mkdir()
        for number, image in enumerate(images):
            Image.fromarray(np.ascontiguousarray(image.permute(1, 2, 0).numpy())).save(folder / f"{number:04d}.png")
        return folder

    return make
