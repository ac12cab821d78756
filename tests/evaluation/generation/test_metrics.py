"""Scores against closed forms, and what they say when they cannot be measured."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor

from mimgen.errors import UserError
from mimgen.evaluation.generation import (
    FeatureSet,
    MetricSettings,
    Moments,
    from_dataset,
    from_folder,
    from_tensor,
    generation_scores,
    lab_hog,
    load_features,
    measure_images,
    save_features,
)

pytest.importorskip("torch_fidelity")

Maker = Callable[..., Path]
KEY = {"extractor": "numbers", "layer": "1", "weights": "none", "resize": "none"}


def features(rows: Tensor, logits: Tensor | None = None) -> FeatureSet:
    return FeatureSet(KEY, {"name": "rows"}, Moments.of(rows), rows.double(), logits)


def axes(scale: float, shift: float = 0.0, width: int = 2) -> Tensor:
    """Points at +-scale on every axis: mean `shift`, covariance scale^2 2 / (2 width - 1) times the identity."""
    eye = torch.eye(width, dtype=torch.float64) * scale
    return torch.cat([eye, -eye]) + shift


def test_fid_of_isotropic_sets() -> None:
    """FID = F shift^2 + F (s1 - s2)^2 for covariances s1^2 I and s2^2 I."""
    found = generation_scores(features(axes(3.0, 1.0)), features(axes(1.0)), ("fid",)).scores["fid"]
    spread = math.sqrt(2 / 3)
    assert found == pytest.approx(2 * 1.0 + 2 * (3 * spread - spread) ** 2, rel=1e-9)


def test_kid_is_the_unbiased_polynomial_mmd() -> None:
    x = torch.randn(6, 3, generator=torch.Generator().manual_seed(0)).double()
    y = torch.randn(6, 3, generator=torch.Generator().manual_seed(1)).double() + 0.5

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        return (a @ b.T / 3 + 1) ** 3

    def off(k: Tensor) -> float:
        return float((k.sum() - k.trace()) / 30)

    expected = off(kernel(x, x)) + off(kernel(y, y)) - 2 * float(kernel(x, y).mean())
    found = generation_scores(features(x), features(y), ("kid",))
    assert found.scores["kid"] == pytest.approx(expected, rel=1e-9)
    assert found.scores["kid_std"] == pytest.approx(0, abs=1e-9)
    assert found.protocol["kid_subset_size"] == 6
    assert any("instead of 1000" in note for note in found.warnings)
    assert any("whole set" in note for note in found.warnings)


def test_inception_score_of_sure_and_varied_samples() -> None:
    """Certain classes, evenly spread over 4: exp(log 4) = 4; the same class for all: 1."""
    sure = 50 * torch.eye(4).repeat(10, 1)
    reported = MetricSettings(is_splits=1)
    rows = torch.randn(40, 2)
    assert generation_scores(features(rows, sure), None, ("is",), reported).scores["is"] == pytest.approx(4, rel=1e-6)
    same = sure[:1].repeat(40, 1)
    assert generation_scores(features(rows, same), None, ("is",), reported).scores["is"] == pytest.approx(1, rel=1e-6)


def test_precision_and_recall_tell_missing_from_false() -> None:
    """Samples inside the truth but from half of it: precise, not complete; and the other way round."""
    noise = torch.Generator().manual_seed(0)
    left, right = torch.rand(30, 2, generator=noise).double(), torch.rand(30, 2, generator=noise).double() + 50
    both = torch.cat([left, right])
    half = left + 1e-4
    narrow = generation_scores(features(half), features(both), ("prc",)).scores
    assert narrow["precision"] == 1
    assert narrow["recall"] == pytest.approx(0.5, abs=0.05)
    wide = generation_scores(features(both), features(half), ("prc",)).scores
    assert wide["precision"] == pytest.approx(0.5, abs=0.05)
    assert wide["recall"] == 1


def test_few_images_are_stated_or_refused() -> None:
    small, large = features(torch.randn(4, 8)), features(torch.randn(20, 8))
    assert any("no full rank" in note for note in generation_scores(small, large, ("fid",)).warnings)
    assert not generation_scores(large, large, ("fid",)).warnings
    with pytest.raises(UserError, match="at least 2 images"):
        generation_scores(features(torch.randn(1, 8)), large, ("fid",))
    with pytest.raises(UserError, match="3 neighbours need more"):
        generation_scores(features(torch.randn(3, 8)), large, ("prc",))
    with pytest.raises(UserError, match="10 splits needs as many"):
        generation_scores(features(torch.randn(4, 8), torch.randn(4, 5)), None, ("is",))


def test_what_does_not_fit_is_refused() -> None:
    left, right = features(torch.randn(20, 3)), features(torch.randn(20, 3))
    other = replace(right, key={**KEY, "resize": "to 299"})
    with pytest.raises(UserError, match=r"measured differently: resize \(none against to 299\)"):
        generation_scores(left, other, ("fid",))
    with pytest.raises(UserError, match="comes as statistics alone"):
        generation_scores(left, replace(right, features=None), ("kid",))
    with pytest.raises(UserError, match="class logits"):
        generation_scores(left, None, ("is",))
    with pytest.raises(UserError, match="give a reference"):
        generation_scores(left, None, ("fid",))
    with pytest.raises(UserError, match="choose from fid, kid, is, prc"):
        generation_scores(left, right, ("fdi",))


def test_files_of_statistics_are_checked(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no reference statistics"):
        load_features(tmp_path / "absent.safetensors")
    (tmp_path / "torn.safetensors").write_bytes(b"not a file")
    with pytest.raises(UserError, match="damaged"):
        load_features(tmp_path / "torn.safetensors")
    from safetensors.torch import save_file

    save_file({"mean": torch.zeros(2)}, str(tmp_path / "other.safetensors"))
    with pytest.raises(UserError, match="holds no statistics"):
        load_features(tmp_path / "other.safetensors")
    with pytest.raises(UserError, match=r"are \.safetensors files"):
        save_features(features(torch.randn(4, 2)), tmp_path / "a.npz")


def test_folders_are_read_in_order_and_checked(folder_of: Maker, tmp_path: Path) -> None:
    folder = folder_of("a", 5, 0)
    source = from_folder(folder)
    with Image.open(folder / "0003.png") as image:
        expected = torch.tensor(list(image.convert("RGB").tobytes()), dtype=torch.uint8).view(32, 32, 3)
    assert torch.equal(source.read(3, 4)[0], expected.permute(2, 0, 1))
    assert from_folder(folder, limit=2).count == 2
    assert from_folder(folder, pixels=16).read(0, 2).shape == (2, 3, 16, 16)
    assert from_folder(folder).fingerprint == source.fingerprint != from_folder(folder, pixels=16).fingerprint
    Image.new("RGB", (20, 10)).save(folder / "odd.png")
    with pytest.raises(UserError, match=r"odd\.png is 20 x 10 px"):
        measure_images(from_folder(folder), lab_hog())
    (folder / "odd.png").write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"odd\.png does not open"):
        measure_images(from_folder(folder), lab_hog())
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds no images"):
        from_folder(tmp_path / "empty")
    with pytest.raises(UserError, match="no such folder"):
        from_folder(tmp_path / "absent")


def test_batches_do_not_change_statistics() -> None:
    images = torch.rand(11, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    one, many = (measure_images(from_tensor(images), lab_hog(), batch_size=size) for size in (11, 3))
    torch.testing.assert_close(one.moments.scatter, many.moments.scatter)
    assert one.features is None


def test_data_sets_are_sources() -> None:
    from mimgen.data import open_data

    data = open_data("emoji", size=64, split="compose")
    source = from_dataset(data, [5, 2], "two")
    assert (source.count, source.name) == (2, "two")
    assert torch.equal(source.read(1, 2)[0], data[2].image)  # type: ignore[index]
    assert from_dataset(data, [2, 5]).fingerprint != source.fingerprint
