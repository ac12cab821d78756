"""FID in the course of a generator's training."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from PIL import Image

from mimgen import configs
from mimgen.data import Sample
from mimgen.errors import UserError
from mimgen.evaluation import fid
from mimgen.pipelines import TextToImagePipeline
from mimgen.recipes import DataConfig, TrainGenerator
from mimgen.recipes.generation_fid import HISTORY, REFERENCE, FidWatch, add_line, evenly_spaced
from mimgen.tokenizers.conv import ConvTokenizer
from mimgen.training import Settings
from mimgen.types import mix_seed

pytest.importorskip("torch_fidelity")


def folder(path: Path, count: int = 5) -> str:
    path.mkdir()
    noise = torch.Generator().manual_seed(0)
    for number in range(count):
        pixels = torch.randint(0, 256, (16, 16, 3), generator=noise, dtype=torch.uint8).numpy()
        Image.fromarray(np.ascontiguousarray(pixels)).save(path / f"{number}.png")
        (path / f"{number}.txt").write_text(f"image {number}")
    return str(path)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(text) for text in path.read_text().splitlines()]


def test_a_line_is_the_fid_of_the_images_it_states(tmp_path: Path) -> None:
    dataset = DataConfig(folder(tmp_path / "data"), 16).open()
    requested: list[str] = []

    class Noise:
        def request_of(self, sample: Sample) -> str:
            return sample.caption

        def __call__(self, prompts: list[str], seed: list[int], batch_size: int) -> SimpleNamespace:
            requested.extend(prompts)
            rows = [torch.rand(3, 16, 16, generator=torch.Generator().manual_seed(each)) for each in seed]
            return SimpleNamespace(images=torch.stack(rows))

    measure = FidWatch(every=2, images=7, batch_size=3).start(dataset, tmp_path)
    line = measure(cast(TextToImagePipeline, Noise()), 4)
    noise = [torch.Generator().manual_seed(mix_seed(0, position)) for position in range(7)]
    made = torch.stack([torch.rand(3, 16, 16, generator=each) for each in noise])
    true = torch.stack([dataset[i].image for i in range(5)]).float() / 255  # type: ignore[index]
    with pytest.warns(UserWarning, match="no full rank"):
        expected = fid(made, true)["fid"]
    # Roots of the eigenvalues that are zero but for rounding: no more digits hold on every processor.
    assert line["fid"] == pytest.approx(expected, rel=1e-5)
    assert (line["step"], line["n"], line["references_n"]) == (4, 7, 5)
    assert requested == [f"image {i % 5}" for i in range(7)]
    assert (tmp_path / REFERENCE).is_file()
    assert any("biased" in text for text in line["warnings"])
    again = measure(cast(TextToImagePipeline, Noise()), 4)
    assert again == line
    assert lines(tmp_path / HISTORY) == [line]


def test_a_run_measures_when_due_and_at_the_end(tmp_path: Path) -> None:
    data = folder(tmp_path / "data")
    torch.manual_seed(0)
    ConvTokenizer(8, (1,), 1, 4, quantizer="fsq", levels=(4, 4)).eval().save_pretrained(tmp_path / "tokenizer")
    run = configs.experiment("meissonic")(
        size="tiny", sampling_steps=1, tokenizer=str(tmp_path / "tokenizer"), data=data
    )
    assert isinstance(run, TrainGenerator)
    assert run.fid is None
    settings = Settings(steps=5, batch_size=4, precision="fp32", tracker="none", sample_every=3, save_every=1)
    plain = replace(run, settings=settings)
    plain.run(tmp_path / "plain")
    replace(plain, fid=FidWatch(every=2, images=4)).run(tmp_path / "watched")
    assert [line["step"] for line in lines(tmp_path / "watched" / HISTORY)] == [2, 4, 5]
    for name in ("plain", "watched"):
        grids = sorted(path.name for path in (tmp_path / name / "samples").iterdir())
        assert [grid[5:13] for grid in grids] == ["00000003", "00000005"]
    left, right = (
        TextToImagePipeline.load(tmp_path / name / "pipeline").transformer.state_dict() for name in ("plain", "watched")
    )
    assert all(torch.equal(value, right[key]) for key, value in left.items())
    assert not (tmp_path / "plain" / HISTORY).exists()


def test_lost_steps_are_measured_again(tmp_path: Path) -> None:
    path = tmp_path / HISTORY
    for step in (2, 4, 6, 4):
        add_line(path, {"step": step, "fid": 1.0})
    path.write_text(path.read_text() + '{"step": 6, "f')
    add_line(path, {"step": 8, "fid": 1.0})
    assert [line["step"] for line in lines(path)] == [2, 4, 8]


def test_places_are_spread() -> None:
    assert evenly_spaced(4, 8) == (0, 2, 4, 6)
    assert evenly_spaced(5, 3) == (0, 1, 2, 0, 1)


def test_mistakes_are_named(tmp_path: Path) -> None:
    dataset = DataConfig(folder(tmp_path / "data"), 16).open()
    with pytest.raises(UserError, match="FID every -1 steps"):
        FidWatch(every=-1)
    with pytest.raises(UserError, match="at least 2 images"):
        FidWatch(every=1, images=1)
    absent = FidWatch(every=1, extractor="inception-v3-compat", weights=str(tmp_path / "absent.pth"))
    with pytest.raises(UserError, match="no weights at"):
        absent.start(dataset, tmp_path)
    stream = SimpleNamespace(name="stream:x")
    with pytest.raises(UserError, match="is a stream"):
        FidWatch(every=1).start(cast(Any, stream), tmp_path)
