"""Bands: scaling and back, synthetic scenes, and folders of one's own rasters."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from mimgen.data import open_data
from mimgen.data.builtin import bands
from mimgen.data.builtin.band_scaling import MODIS_TOA, BandScaling
from mimgen.data.builtin.bands import open_bands
from mimgen.data.contract import Augmented, Dataset
from mimgen.data.loader import Loader
from mimgen.data.sources.rasters import open_rasters
from mimgen.errors import UserError


def test_scaling_can_be_undone_and_does_not_clip():
    low, high = (torch.tensor(side)[:, None, None].expand(14, 2, 2) for side in (MODIS_TOA.low, MODIS_TOA.high))
    values = low + (high - low) * torch.rand(14, 2, 2)
    before = values.clone()
    scaled = MODIS_TOA(values)
    assert scaled.min() >= 0 and scaled.max() <= 1
    assert torch.equal(values, before)
    torch.testing.assert_close(MODIS_TOA.undo(scaled), values, rtol=1e-5, atol=1e-3)
    torch.testing.assert_close(MODIS_TOA(low), torch.zeros(14, 2, 2))
    torch.testing.assert_close(MODIS_TOA(high + (high - low)), torch.full((14, 2, 2), 2.0))
    assert MODIS_TOA(torch.rand(3, 14, 2, 2)).shape == (3, 14, 2, 2)
    with pytest.raises(UserError, match="14 bands"):
        MODIS_TOA(torch.rand(3, 2, 2))
    with pytest.raises(UserError, match="a larger high"):
        BandScaling((0.0,), (0.0,))


def test_scenes_have_14_bands_and_say_what_they_show():
    scenes = open_bands(16, "val")
    assert isinstance(scenes, Dataset) and isinstance(scenes, Augmented)
    samples = [scenes[index] for index in range(24)]
    images = torch.stack([sample.image for sample in samples])
    assert images.shape == (24, 14, 16, 16) and images.dtype == torch.float32
    assert images.min() >= 0 and images.max() <= 1
    assert images.std((0, 2, 3)).min() > 0.05
    assert len({sample.labels["cover"] for sample in samples}) >= 3
    cloudy = torch.stack([sample.extras["height"][0] > 0 for sample in samples])
    # clouds are bright and cold
    assert images[:, 0][cloudy].mean() > images[:, 0][~cloudy].mean() + 0.2
    assert images[:, 11][cloudy].mean() < images[:, 11][~cloudy].mean() - 0.1
    profile = torch.stack([sample.extras["profile"] for sample in samples])
    assert profile.shape == (24, 8, 16)
    assert torch.equal(profile.amax(1) > 0, cloudy[:, :, 8])
    again = open_bands(16, "val")
    assert torch.equal(again[3].image, scenes[3].image) and again.fingerprint == scenes.fingerprint
    assert not torch.equal(open_bands(16, "train")[3].image, scenes[3].image)


def test_scenes_are_cropped_by_a_loader_reproducibly():
    first, second = (next(Loader(open_bands(8, "val"), 4, 0, prefetch=0).stream(0))[0] for _ in range(2))
    assert first.images.shape == (4, 14, 8, 8)
    assert torch.equal(first.images, second.images)
    assert "height" not in first.extras
    plain = open_bands(8, "val")
    assert not torch.equal(plain.sample(0, torch.Generator().manual_seed(0)).image, plain[0].image)
    with pytest.raises(UserError, match="no split"):
        open_bands(8, "test")
    with pytest.raises(UserError, match="8 pixels or more"):
        open_bands(4)


@pytest.fixture
def folder(tmp_path):
    for index in range(8):
        raster = np.random.default_rng(index).random((5, 12, 10)) * [[[100.0]]] * 5 + 200
        np.save(tmp_path / f"{index}.npy", raster if index % 2 else raster.transpose(1, 2, 0))
    return tmp_path


def test_own_rasters(folder):
    rasters = open_rasters(folder, 8)
    assert isinstance(rasters, Dataset) and isinstance(rasters, Augmented)
    assert len(rasters) == 8 and rasters[0].image.shape == (5, 8, 8)
    assert all(-0.3 < float(rasters[i].image.mean()) < 1.3 for i in range(8))
    sampled = rasters.sample(1, torch.Generator().manual_seed(0)).image
    assert sampled.shape == (5, 8, 8) and not torch.equal(sampled, rasters[1].image)
    split = [open_rasters(folder, 8, part) for part in ("train", "val")]
    assert sum(map(len, split)) == 8 and split[0].scaling == split[1].scaling == rasters.scaling


def test_told_ranges_and_missing_values(folder):
    (folder / "bands.json").write_text(json.dumps({"low": [0] * 5, "high": [1000] * 5}))
    whole = np.full((5, 12, 12), 500.0)
    whole[0, :6] = np.nan
    whole[1] = np.nan
    np.save(folder / "0.npy", whole)
    image = open_rasters(folder, 12)[0].image
    torch.testing.assert_close(image[[0, 2, 3, 4]], torch.full((4, 12, 12), 0.5))
    assert torch.equal(image[1], torch.zeros(12, 12))
    (folder / "bands.json").write_text('{"low": [0]}')
    with pytest.raises(UserError, match="one number a band"):
        open_rasters(folder, 12)


def test_mistakes_are_named(folder, tmp_path_factory):
    with pytest.raises(UserError, match="holds no rasters"):
        open_rasters(tmp_path_factory.mktemp("none"), 8)
    rasters = open_rasters(folder, 8)
    np.save(folder / "1.npy", np.zeros((3, 9, 9)))
    with pytest.raises(UserError, match="keep rasters of one kind"):
        rasters[1]
    np.save(folder / "1.npy", np.zeros((9, 9)))
    with pytest.raises(UserError, match=r"shape \[9, 9\]"):
        rasters[1]
    (folder / "1.npy").write_bytes(b"no array")
    with pytest.raises(UserError, match=r"1\.npy is not a \.npy array"):
        rasters[1]


def test_asking_what_it_is_draws_no_scene(monkeypatch):
    def sampled(*_):
        raise AssertionError("a scene was sampled")

    monkeypatch.setattr(bands, "_fields", sampled)
    dataset = open_bands(8, "val")
    assert isinstance(dataset, Dataset) and set(dataset.labels) == {"cover", "surface"}
    with pytest.raises(AssertionError, match="a scene was sampled"):
        dataset.labels["cover"]


def test_geotiff_is_read_band_by_band(tmp_path: Path) -> None:
    rasterio = pytest.importorskip("rasterio")
    values = torch.rand(5, 12, 16, generator=torch.Generator().manual_seed(0)).numpy()
    for number in range(3):
        with rasterio.open(tmp_path / f"{number}.tif", "w", driver="GTiff", height=12, width=16, count=5,
                           dtype="float32") as file:  # fmt: skip
            file.write(values * (number + 1))
    (tmp_path / "bands.json").write_text('{"low": [0, 0, 0, 0, 0], "high": [1, 1, 1, 1, 1]}')
    sample = open_data(f"rasters:{tmp_path}", size=12, split="all")[0]
    assert sample.image.shape == (5, 12, 12) and sample.image.dtype == torch.float32
    # the middle 12 of 16 columns, as they are
    assert torch.allclose(sample.image, torch.from_numpy(values[:, :, 2:14]), atol=1e-6)
