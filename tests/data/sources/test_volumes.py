"""Volumes: phantoms, folders of files, segmentations."""

import importlib.util

import numpy as np
import pytest
import torch

from mimgen.data import Dataset, Loader
from mimgen.data.builtin.phantoms import ORGANS, open_phantoms, render_phantom
from mimgen.data.contract import Augmented
from mimgen.data.sources.volumes import VolumeFolder, open_volumes, read_volume
from mimgen.errors import UserError


@pytest.fixture
def folder(tmp_path):
    """Three volumes with a segmentation each; their values tell where they are from."""
    (tmp_path / "images").mkdir()
    (tmp_path / "labels").mkdir()
    for number in range(3):
        values = np.arange(6 * 8 * 10, dtype=np.float32).reshape(6, 8, 10) - 200
        np.save(tmp_path / "images" / f"scan{number}.npy", values + number)
        np.save(tmp_path / "labels" / f"scan{number}.npy", (values > 0).astype(np.int16))
    return tmp_path


def test_phantoms_are_the_same_everywhere_and_labelled():
    train, val = open_phantoms(12, "train"), open_phantoms(12, "val")
    assert isinstance(train, Dataset) and (len(train), len(val)) == (2000, 200)
    sample = train[7]
    assert sample.image.shape == (1, 12, 12, 12) and sample.image.dtype == torch.float32
    assert torch.equal(sample.image, open_phantoms(12, "train")[7].image)
    assert not torch.equal(sample.image, val[7].image)
    assert int(train.labels["organs"][7]) == sample.labels["organs"]
    assert train.fingerprint != val.fingerprint != open_phantoms(16, "val").fingerprint
    assert set(val.labels["organs"].tolist()) == set(range(len(ORGANS)))


def test_organs_are_where_the_segmentation_says():
    image, classes = render_phantom(torch.Generator().manual_seed(3), 24, len(ORGANS))
    found = {number: float(image[classes == number].mean()) for number in range(5) if (classes == number).any()}
    assert set(found) >= {1, 2, 4}
    assert found[1] == pytest.approx(0.9, abs=0.02) and found[2] == pytest.approx(0.1, abs=0.02)
    assert float(image[0, 0, 0]) == pytest.approx(0, abs=0.2), "corners are air"
    few, none = render_phantom(torch.Generator().manual_seed(3), 24, 1)
    assert len(none.unique()) == 2 and few.shape == (24, 24, 24)


def test_a_batch_has_volumes_and_segmentations():
    batch = next(Loader(open_phantoms(8, "val"), 4, 0, prefetch=0).stream(0))[0]
    assert batch.images.shape == (4, 1, 8, 8, 8)
    segmentation = batch.extras["segmentation"]
    assert segmentation.shape == (4, 8, 8, 8) and set(segmentation.unique().tolist()) <= {0, 1, 2, 3, 4}


def test_a_folder_gives_cubes_with_their_classes(folder):
    data = open_volumes(str(folder), 6)
    assert isinstance(data, VolumeFolder) and isinstance(data, Dataset)
    assert len(data) == 3 and not data.augments
    sample = data[1]
    whole = torch.from_numpy(np.load(folder / "images" / "scan1.npy"))
    assert torch.equal(sample.image[0], whole[:, 1:7, 2:8]) and sample.key == "scan1"
    assert torch.equal(sample.extras["segmentation"], (whole[:, 1:7, 2:8] - 1 > 0).long())
    windowed = open_volumes(str(folder), 6, window=(-100, 100))[0].image
    assert float(windowed.min()) == 0 and float(windowed.max()) == 1
    torch.testing.assert_close(windowed, ((data[0].image + 100) / 200).clamp(0, 1))


def test_random_cubes_keep_voxels_and_classes_together(folder):
    data = open_volumes(str(folder), 4, random_crop=True)
    assert isinstance(data, Augmented) and data.augments
    rng = [data.sample(0, torch.Generator().manual_seed(seed)) for seed in range(8)]
    assert len({float(sample.image[0, 0, 0, 0]) for sample in rng}) > 4
    for sample in rng:
        assert torch.equal(sample.extras["segmentation"], (sample.image[0] > 0).long())


def test_small_volumes_are_filled_up_in_the_middle(folder):
    sample = open_volumes(str(folder), 10)[0]
    whole = torch.from_numpy(np.load(folder / "images" / "scan0.npy"))
    assert sample.image.shape == (1, 10, 10, 10)
    assert torch.equal(sample.image[0, 2:8, 1:9], whole)
    assert float(sample.image[0, 0].max()) == float(whole.min())
    assert int(sample.extras["segmentation"][0].max()) == 0


def test_splits_are_sub_folders(folder):
    (folder / "val").mkdir()
    np.save(folder / "val" / "a.npy", np.zeros((2, 3, 3, 3), np.float32))
    val = open_volumes(str(folder), 3, "val")
    assert val[0].image.shape == (2, 3, 3, 3) and not val[0].extras
    assert len(open_volumes(str(folder), 3, "all")) == 3


def test_mistakes_are_named(folder):
    for spec, split in (("/nowhere", None), (str(folder), "test")):
        with pytest.raises(UserError, match="no volumes at"):
            open_volumes(spec, 4, split)
    (folder / "val").mkdir()
    with pytest.raises(UserError, match="files there that end in"):
        open_volumes(str(folder), 4, "val")
    with pytest.raises(UserError, match="must have an extent"):
        open_volumes(str(folder), 4, window=(1, 1))
    with pytest.raises(UserError, match="no split"):
        open_volumes("volumes", 8, "test")
    with pytest.raises(UserError, match="8 voxels"):
        open_volumes("volumes", 4)
    np.save(folder / "labels" / "scan0.npy", np.zeros((2, 2, 2)))
    with pytest.raises(UserError, match="one class for each voxel"):
        open_volumes(str(folder), 4)[0]
    np.save(folder / "flat.npy", np.zeros((2, 2)))
    with pytest.raises(UserError, match="3 sides"):
        read_volume(folder / "flat.npy")
    (folder / "bad.npy").write_bytes(b"no numbers")
    with pytest.raises(UserError, match=r"not a \.npy file"):
        read_volume(folder / "bad.npy")


@pytest.mark.skipif(importlib.util.find_spec("nibabel") is not None, reason="nibabel is there")
def test_without_nibabel_the_message_says_what_to_do(tmp_path):
    (tmp_path / "scan.nii.gz").write_bytes(b"")
    with pytest.raises(UserError, match="pip install nibabel"):
        read_volume(tmp_path / "scan.nii.gz")


def test_nifti_is_resampled_to_the_spacing(tmp_path):
    nibabel = pytest.importorskip("nibabel")
    values = np.arange(4 * 6 * 8, dtype=np.float32).reshape(4, 6, 8)
    path = tmp_path / "scan.nii.gz"
    nibabel.save(nibabel.Nifti1Image(values, np.diag([3.0, 1.5, 0.75, 1.0])), path)
    assert torch.equal(read_volume(path)[0], torch.from_numpy(values))
    assert read_volume(path, 1.5).shape == (1, 8, 6, 4)
    classes = read_volume(path, 1.5, smooth=False)
    assert set(classes.unique().tolist()) <= set(values.ravel().tolist())
    (tmp_path / "bad.nii").write_bytes(b"no volume")
    with pytest.raises(UserError, match="readable NIfTI"):
        read_volume(tmp_path / "bad.nii")
