"""Our scores of two folders against torch-fidelity's own command on the same folders."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from mimgen.evaluation.generation import (
    Extractor,
    MetricSettings,
    from_folder,
    generation_scores,
    inception,
    lab_hog,
    load_features,
    measure_images,
    register_extractor,
    save_features,
)

pytest.importorskip("torch_fidelity")

Maker = Callable[..., Path]
NAMES = {
    "fid": "frechet_inception_distance",
    "kid": "kernel_inception_distance_mean",
    "kid_std": "kernel_inception_distance_std",
    "is": "inception_score_mean",
    "is_std": "inception_score_std",
    "precision": "precision",
    "recall": "recall",
    "f_score": "f_score",
}


def command(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> dict[str, float]:
    """What `fidelity ARGUMENTS` prints."""
    from torch_fidelity import fidelity

    options = ["--cpu", "--json", "--silent", "--no-cache", "--save-cpu-ram"]  # the last: no worker processes
    monkeypatch.setattr("sys.argv", ["fidelity", *arguments, *options])
    capsys.readouterr()
    fidelity.main()
    return dict(json.loads(capsys.readouterr().out))


def ours(first: Path, second: Path, extractor: Extractor, metrics: tuple[str, ...], size: int) -> dict[str, float]:
    samples, references = (
        measure_images(from_folder(folder), extractor, keep=True) for folder in (first, second)
    )
    return generation_scores(samples, references, metrics, MetricSettings(kid_subset_size=size)).scores


def test_lab_hog_equals_the_command(
    folder_of: Maker, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = folder_of("a", 150, 0), folder_of("b", 130, 1, red=0.7)
    name = register_extractor(lab_hog())
    theirs = command(
        ["--fid", "--kid", "--prc", "--input1", str(first), "--input2", str(second), "--feature-extractor", name,
         "--kid-subset-size", "60"],
        monkeypatch, capsys,
    )  # fmt: skip
    found = ours(first, second, lab_hog(), ("fid", "kid", "prc"), 60)
    assert set(found) == {"fid", "kid", "kid_std", "precision", "recall", "f_score"}
    assert found["fid"] > 0.1
    for metric, value in found.items():
        assert value == pytest.approx(theirs[NAMES[metric]], abs=1e-6), metric


@pytest.fixture(scope="module")
def random_inception(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with random weights in torch-fidelity's form."""
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    file = tmp_path_factory.mktemp("weights") / "random.pth"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "torch_fidelity.feature_extractor_inceptionv3.load_state_dict_from_url", lambda *a, **k: None
        )
        patch.setattr(FeatureExtractorInceptionV3, "load_state_dict", lambda self, state: None)
        torch.manual_seed(0)
        torch.save(FeatureExtractorInceptionV3("inception-v3-compat", ["64"]).state_dict(), file)
    return file


def test_inception_from_a_file_equals_the_command(
    random_inception: Path,
    folder_of: Maker,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """At the first layer, which is quick; the last one is compared in the same way where time allows."""
    first, second = folder_of("a", 12, 0), folder_of("b", 11, 1, red=0.8)
    theirs = command(
        ["--fid", "--kid", "--input1", str(first), "--input2", str(second), "--kid-subset-size", "8",
         "--feature-extractor-weights-path", str(random_inception), "--feature-layer-fid", "64",
         "--feature-layer-kid", "64"],
        monkeypatch, capsys,
    )  # fmt: skip
    found = ours(first, second, inception(random_inception, "64"), ("fid", "kid"), 8)
    assert found["fid"] > 1e-4
    for metric, value in found.items():
        assert value == pytest.approx(theirs[NAMES[metric]], abs=1e-6), metric


def test_saved_statistics_give_the_same_numbers(folder_of: Maker, tmp_path: Path) -> None:
    first, second = folder_of("a", 90, 0), folder_of("b", 80, 1, red=0.7)
    direct = ours(first, second, lab_hog(), ("fid", "kid", "prc"), 50)
    references = measure_images(from_folder(second), lab_hog(), keep=True)
    again = load_features(save_features(references, tmp_path / "kept" / "b.safetensors"))
    samples = measure_images(from_folder(first), lab_hog(), keep=True)
    reported = MetricSettings(kid_subset_size=50)
    assert generation_scores(samples, again, ("fid", "kid", "prc"), reported).scores == direct
    assert again.source == references.source
