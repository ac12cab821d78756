"""`mimgen evaluate generation` on folders, saved statistics and a model."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from mimgen.cli.evaluate_generation import main
from mimgen.errors import UserError
from mimgen.evaluation import generation_run
from mimgen.pipelines import Preset

pytest.importorskip("torch_fidelity")

Maker = Callable[..., Path]


@pytest.fixture
def folder_of(tmp_path: Path) -> Maker:
    """make(name, n, seed, low=0) writes n random 16 px .png images whose values start at `low`."""

    def make(name: str, n: int, seed: int, low: int = 0) -> Path:
        noise = torch.Generator().manual_seed(seed)
        folder = tmp_path / name
        folder.mkdir()
        for number in range(n):
            pixels = torch.randint(low, 256, (4, 4, 3), generator=noise).to(torch.uint8).numpy()
            Image.fromarray(np.kron(pixels, np.ones((4, 4, 1), np.uint8))).save(folder / f"{number:03d}.png")
        return folder

    return make


def test_two_folders_and_their_statistics(
    folder_of: Maker, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made, true, kept = folder_of("made", 12, 0), folder_of("true", 10, 1, 90), tmp_path / "true.safetensors"
    shared = ["--samples", str(made), "--metrics", "fid,kid,prc"]
    main([*shared, "--reference", str(true), "--save-reference", str(kept), "--out", str(tmp_path / "a.json")])
    output = capsys.readouterr()
    main([*shared, "--reference", str(kept), "--out", str(tmp_path / "b.json")])
    first, second = (json.loads((tmp_path / name).read_text()) for name in ("a.json", "b.json"))
    assert first["scores"] == second["scores"]
    assert first["protocol"] == second["protocol"]
    assert set(first["scores"]) == {"fid", "kid", "kid_std", "precision", "recall", "f_score"}
    assert first["protocol"]["n"] == 12
    assert first["protocol"]["references_n"] == 10
    assert first["protocol"]["reference"]["name"] == str(true)
    assert first["measure"] == "generation"
    assert any("no full rank" in text for text in first["warnings"])
    assert "no full rank" in output.err
    assert "fid" in output.out
    assert "generated images" in (tmp_path / "a.html").read_text()


def test_reference_statistics_alone(folder_of: Maker, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kept = tmp_path / "true.safetensors"
    true = folder_of("true", 5, 1)
    main(["--reference", str(true), "--metrics", "fid", "--save-reference", str(kept)])
    assert kept.is_file()
    with pytest.raises(UserError, match="comes as statistics alone"):
        main(["--samples", str(true), "--reference", str(kept), "--metrics", "kid"])
    capsys.readouterr()
    main(["--samples", str(true), "--reference", str(kept), "--metrics", "fid"])
    assert "fid" in capsys.readouterr().out


def test_a_model_draws_the_captions_of_the_data(
    folder_of: Maker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    true = folder_of("true", 6, 0)
    for number in range(6):
        (true / f"{number:03d}.txt").write_text(f"image {number}")
    requested: list[tuple[str, int]] = []

    class Pipeline:
        conditioning = "text"
        preset = Preset(resolution=(16, 16))

        def __call__(self, prompts: list[str], seed: list[int], **changes: Any) -> SimpleNamespace:
            assert changes == {"steps": 3}
            requested.extend(zip(prompts, seed, strict=True))
            noise = [torch.rand(3, 16, 16, generator=torch.Generator().manual_seed(each)) for each in seed]
            return SimpleNamespace(images=torch.stack(noise))

    monkeypatch.setattr(generation_run, "find_pipeline", lambda model: Path(model))
    monkeypatch.setattr(generation_run, "open_pipeline", lambda model: Pipeline())
    out = tmp_path / "model.json"
    shared = ["--model", "m", "--reference", str(true), "--metrics", "fid", "--steps", "3", "--n", "9"]
    main([*shared, "--batch-size", "4"])
    assert [prompt for prompt, _ in requested] == [f"image {position % 6}" for position in range(9)]
    assert len({seed for _, seed in requested}) == 9
    before = list(requested)
    requested.clear()
    main([*shared, "--batch-size", "9", "--out", str(out)])
    assert requested[:9] == before
    protocol = json.loads(out.read_text())["protocol"]
    assert (protocol["n"], protocol["seed"], protocol["sampling"]["steps"]) == (9, 0, 3)
    assert protocol["prompts"] == str(true)


@pytest.mark.parametrize(
    ("arguments", "output"),
    [
        (["--reference", "x"], "say what is measured"),
        (["--samples", "a", "--model", "b", "--reference", "c"], "not both"),
        (["--samples", "a"], "give --reference"),
        (["--samples", "a", "--reference", "c", "--metrics", "fdi"], "choose some of fid,kid,is,prc"),
        (["--samples", "absent", "--reference", "c"], "no such folder of images: absent"),
        (["--samples", "a", "--reference", "c", "--n", "1"], "--n 1 is too small"),
        (["--samples", "a", "--reference", "c", "--weights", "w.pth"], "has no weights"),
        (["--samples", "a", "--reference", "c", "--extractor", "hf:absent"], "config.json"),
    ],
)
def test_mistakes_are_named(arguments: list[str], output: str) -> None:
    with pytest.raises(UserError, match=output):
        main(arguments)
