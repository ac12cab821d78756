"""FID through torch-fidelity with the model-free extractor, and the guard around Inception weights."""

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from mimgen.errors import UserError
from mimgen.evaluation import fid
from mimgen.evaluation.descriptor import describe
from mimgen.evaluation.fid import PROJECTED, project

pytest.importorskip("torch_fidelity")


def blobs(n: int, seed: int, red: float = 0.5) -> Tensor:
    """[n, 3, 32, 32]: smooth random images, more or less red."""
    rng = torch.rand(n, 3, 4, 4, generator=torch.Generator().manual_seed(seed))
    rng[:, 0] = (rng[:, 0] + red - 0.5).clamp(0, 1)
    return torch.nn.functional.interpolate(rng, (32, 32), mode="bilinear")


def test_a_set_and_itself() -> None:
    images = blobs(80, 0)
    result = fid(images, images)
    assert abs(result["fid"]) < 1e-3
    assert result["extractor"] == "lab-hog"
    assert result["weights"] is None
    assert result["full_rank"]
    assert (result["n"], result["references_n"], result["dimensions"]) == (80, 80, 64)


def test_agrees_with_the_formula() -> None:
    a, b = blobs(80, 0), blobs(90, 1, red=0.8)
    ours = fid(a, b)["fid"]
    x, y = (project(describe((p * 255).round() / 255)).numpy() for p in (a, b))
    s1, s2 = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    values, vectors = np.linalg.eigh(s1)
    root = vectors * np.sqrt(values.clip(min=0)) @ vectors.T
    crossed = np.sqrt(np.linalg.eigvalsh(root @ s2 @ root).clip(min=0)).sum()
    expected = np.square(x.mean(0) - y.mean(0)).sum() + np.trace(s1) + np.trace(s2) - 2 * crossed
    assert ours == pytest.approx(expected, rel=1e-3)


def test_further_sets_are_further() -> None:
    references = blobs(80, 0)
    near, far = fid(blobs(80, 1), references)["fid"], fid(blobs(80, 1, red=0.9), references)["fid"]
    assert 0 < near < far


def test_projection_is_fixed_and_keeps_distances() -> None:
    described = describe(blobs(40, 0))
    assert project(described).shape == (40, PROJECTED)
    torch.testing.assert_close(project(described[3:4]), project(described)[3:4])
    true, kept = torch.pdist(described.double()), torch.pdist(project(described)) / 10
    assert 0.8 < float((kept / true).mean()) < 1.2


def test_few_images_warn() -> None:
    with pytest.warns(UserWarning, match="no full rank"):
        result = fid(blobs(10, 0), blobs(80, 1))
    assert not result["full_rank"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fid(blobs(65, 0), blobs(80, 1))


def test_missing_inception_weights_are_an_error_and_no_download(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("tried to download")

    monkeypatch.setattr("torch_fidelity.feature_extractor_inceptionv3.load_state_dict_from_url", refuse)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(UserError, match="pass its path as `weights`"):
        fid(blobs(4, 0), blobs(4, 1), "inception-v3-compat")
    with pytest.raises(UserError, match=r"no weights at .*absent\.pth"):
        fid(blobs(4, 0), blobs(4, 1), "inception-v3-compat", tmp_path / "absent.pth")


def test_weights_that_are_code_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "weights.pth"
    torch.save({"fc": Path("x")}, file)
    with pytest.raises(UserError, match="not a file of tensors"):
        fid(blobs(4, 0), blobs(4, 1), "inception-v3-compat", file)


def test_given_inception_weights_are_used_and_named(tmp_path: Path) -> None:
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    file = tmp_path / "weights.pth"
    with pytest.MonkeyPatch.context() as patch:  # random weights in the official form
        patch.setattr(
            "torch_fidelity.feature_extractor_inceptionv3.load_state_dict_from_url", lambda *a, **k: None
        )
        patch.setattr(FeatureExtractorInceptionV3, "load_state_dict", lambda self, state: None)
        torch.manual_seed(0)
        torch.save(FeatureExtractorInceptionV3("inception-v3-compat", ["64"]).state_dict(), file)
    with pytest.warns(UserWarning, match="64 features"):
        result = fid(blobs(3, 0), blobs(3, 1), "inception-v3-compat", file, layer="64")
    assert result["extractor"] == "inception-v3-compat"
    assert result["weights"] == str(file)
    assert result["layer"] == "64"
    assert result["descriptor"] is None
    assert np.isfinite(result["fid"])


def test_unknown_extractor_and_too_few_images_are_named() -> None:
    with pytest.raises(UserError, match="lab-hog, inception-v3-compat"):
        fid(blobs(4, 0), blobs(4, 1), "inception")
    with pytest.raises(UserError, match="at least 2 images"):
        fid(blobs(1, 0), blobs(4, 1))
    with pytest.raises(UserError, match="has no weights"):
        fid(blobs(4, 0), blobs(4, 1), weights="some.pth")
