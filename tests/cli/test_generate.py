"""`mimgen generate`: edits, files of prompts with resuming, previews, and every mistake in one line."""

from __future__ import annotations

import functools
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mimgen.cli import generate
from mimgen.cli import main as cli
from mimgen.pipelines import TextToImagePipeline, base, memory
from mimgen.pipelines import jobs as generate_drawing
from mimgen.pipelines.open import open_pipeline
from mimgen.pipelines.saving import save_image
from tests.pipelines.tiny import tiny_pipeline


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("model")
    tiny_pipeline().save(folder)
    return str(folder)


@pytest.fixture(autouse=True)
def _loaded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generate, "open_pipeline", loaded)


@functools.cache
def loaded(model: str, memory: float | None) -> TextToImagePipeline:
    return open_pipeline(model, memory)


@pytest.fixture
def face(tmp_path: Path) -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (16, 24, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "face.png")
    mask = Image.new("L", (24, 16))
    mask.paste(255, (9, 5, 12, 8))
    mask.save(tmp_path / "mask.png")
    return tmp_path / "face.png"


def run(model: str, *words: str | Path, status: int = 0) -> None:
    assert cli.main(["generate", *(str(word) for word in words), "--model", model]) == status


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def complaint(capsys: pytest.CaptureFixture[str]) -> str:
    error = capsys.readouterr().err
    lines = [line for line in error.splitlines() if "warning" not in line]
    assert len(lines) == 1 and lines[0].startswith("mimgen: error: ")
    return lines[0]


def test_seeds_and_file_names(model, tmp_path):
    run(model, "a cat", "a dog", "--n", "2", "--out", tmp_path / "x.png", "--batch", "3", "--seed", "5")
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"x-{position}.png" for position in range(4)]
    run(model, "a dog", "--seed", "7", "--out", tmp_path / "alone.png")
    assert np.array_equal(pixels(tmp_path / "alone.png"), pixels(tmp_path / "x-2.png"))


def test_grid_resolution_and_negative(model, tmp_path):
    run(model, "a cat", "--n", "3", "--grid", "2", "--resolution", "8x12", "--out", tmp_path / "g.png", "--batch", "2")
    assert pixels(tmp_path / "g.png").shape == (16, 24, 3)
    for name, words in (("a", ()), ("b", ("--negative", "dog"))):
        run(model, "a cat", "--guidance", "6", "--out", tmp_path / f"{name}.png", *words)
    assert not np.array_equal(pixels(tmp_path / "a.png"), pixels(tmp_path / "b.png"))


def test_a_cache_is_the_pipelines_and_of_every_step_changes_nothing(model, tmp_path, capsys):
    for name, words in (("plain", ()), ("exact", ("--cache", "1"))):
        run(model, "a cat", "--out", tmp_path / f"{name}.png", *words)
    assert np.array_equal(pixels(tmp_path / "plain.png"), pixels(tmp_path / "exact.png"))
    (tmp_path / "prompts.txt").write_text("a cat\n")
    run(model, "--prompts", tmp_path / "prompts.txt", "--cache", "3", "--out", tmp_path / "drawn")
    assert json.loads((tmp_path / "drawn" / "settings.json").read_text())["speed"]["cache"]["every"] == 3
    capsys.readouterr()
    run(model, "a cat", "--cache", "0", status=2)
    assert "at least 1 step" in complaint(capsys)


def test_the_score_reaches_the_model(model, tmp_path, monkeypatch):
    reported, sample = [], base.unmask

    def watched(predict, *args, **options):
        reported.append(predict.condition.sizes)
        return sample(predict, *args, **options)

    monkeypatch.setattr(base, "unmask", watched)
    run(model, "a cat", "--score", "8.5", "--out", tmp_path / "a.png")
    assert reported == [(24, 16, 0, 0, 8.5)]


def test_edit_inpaint_and_outpaint(model, face, tmp_path):
    run(model, "a cat", "--image", face, "--strength", "0.5", "--out", tmp_path / "e.png")
    assert pixels(tmp_path / "e.png").shape == (16, 24, 3)
    mask = tmp_path / "mask.png"
    run(model, "a cat", "--image", face, "--mask", mask, "--feather", "0", "--out", tmp_path / "i.png")
    kept = pixels(mask) == 0
    assert np.array_equal(pixels(tmp_path / "i.png")[kept], pixels(face)[kept])
    assert not np.array_equal(pixels(tmp_path / "i.png"), pixels(face))
    run(model, "a cat", "--image", face, "--outpaint", "8,0,4,4", "--feather", "0", "--out", tmp_path / "o.png")
    grown = pixels(tmp_path / "o.png")
    assert grown.shape == (20, 36, 3)
    assert np.array_equal(grown[:16, 8:32], pixels(face))


def test_an_image_of_another_size_is_fitted_and_said(model, face, tmp_path, capsys):
    Image.open(face).resize((60, 60)).save(tmp_path / "big.png")
    run(model, "a cat", "--image", tmp_path / "big.png", "--out", tmp_path / "a.png")
    assert "60 x 60 px scaled and cut to 24 x 16" in capsys.readouterr().out
    run(model, "a cat", "--image", face, "--resolution", "32x8", "--out", tmp_path / "b.png")
    assert pixels(tmp_path / "b.png").shape == (32, 8, 3)


def test_previews(model, tmp_path):
    run(model, "a cat", "a dog", "--out", tmp_path / "x.png", "--preview", tmp_path / "p", "--preview-every", "2")
    names = sorted(path.name for path in (tmp_path / "p").iterdir())
    assert names == ["x-0-step-002.png", "x-0-step-004.png", "x-1-step-002.png", "x-1-step-004.png"]
    assert np.array_equal(pixels(tmp_path / "p" / "x-0-step-004.png"), pixels(tmp_path / "x-0.png"))


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    rows = [{"prompt": "a cat"}, {"prompt": "a dog", "seed": 9, "name": "dog"}, {"prompt": "a fox", "negative": "red"}]
    path = tmp_path / "prompts.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return path


def test_a_file_of_prompts_and_going_on(model, prompts, tmp_path, capsys):
    words, out = ("--prompts", prompts, "--out", tmp_path / "out"), tmp_path / "out"
    run(model, *words)
    first = {path.name: path.read_bytes() for path in out.iterdir()}
    assert sorted(first) == ["00001.png", "00003.png", "dog.png", "images.jsonl", "settings.json"]
    run(model, "a dog", "--seed", "9", "--out", tmp_path / "dog.png")
    assert np.array_equal(pixels(tmp_path / "dog.png"), pixels(out / "dog.png"))
    (out / "dog.png").unlink()
    with prompts.open("a") as file:
        file.write('\n{"prompt": "a hen"}\n')
    capsys.readouterr()
    run(model, *words)
    output = capsys.readouterr().out
    assert "2 of 4 images are there already" in output and "dog.png" in output and "00004.png" in output
    assert "00001" not in output
    assert {path.name: path.read_bytes() for path in out.iterdir() if path.name in first and path.suffix == ".png"} == {
        name: content for name, content in first.items() if name.endswith(".png")
    }


def test_prompts_with_odd_line_ends_are_not_drawn_twice(model, tmp_path, capsys):
    (tmp_path / "p.txt").write_text("a\x85cat\u2028on a mat\na dog\n", encoding="utf-8")
    words = ("--prompts", tmp_path / "p.txt", "--out", tmp_path / "out")
    run(model, *words)
    assert sorted(path.name for path in (tmp_path / "out").glob("*.png")) == ["00001.png", "00002.png"]
    capsys.readouterr()
    run(model, *words)
    assert "2 of 2 images are there already" in capsys.readouterr().out


def test_a_changed_line_is_drawn_again_and_changed_settings_are_refused(model, prompts, tmp_path, capsys):
    words, out = ("--prompts", prompts, "--out", tmp_path / "out"), tmp_path / "out"
    run(model, *words)
    prompts.write_text(prompts.read_text().replace("a cat", "a cow"))
    capsys.readouterr()
    run(model, *words)
    assert "2 of 3 images" in capsys.readouterr().out
    run(model, *words, "--steps", "3", status=2)
    assert "made with steps 4 (now 3); continue with the same" in complaint(capsys)
    (out / "settings.json").write_text("{")
    run(model, *words, status=2)
    assert "damaged" in complaint(capsys)


def test_interrupting_keeps_what_is_done(model, prompts, tmp_path, capsys, monkeypatch):
    sample = generate_drawing.ImageGenerator.__call__
    batches = []

    def interrupted(self, jobs):
        batches.append(jobs)
        if len(batches) == 3:
            raise KeyboardInterrupt
        return sample(self, jobs)

    monkeypatch.setattr(generate_drawing.ImageGenerator, "__call__", interrupted)
    words, out = ("--prompts", prompts, "--out", tmp_path / "out", "--batch", "1"), tmp_path / "out"
    run(model, *words, status=130)
    assert "2 of 3 images are written; the same command resumes" in capsys.readouterr().err
    assert sorted(path.name for path in out.glob("*.png")) == ["00001.png", "dog.png"]
    with (out / "images.jsonl").open("a") as file:
        file.write('\n{"file": "0000')  # as a crash would leave it
    run(model, *words)
    assert [job.name for job in batches[-1]] == ["00003"] and (out / "00003.png").is_file()
    assert json.loads((out / "images.jsonl").read_text().splitlines()[-1])["prompt"] == "a fox"


def test_no_half_written_file_stays(tmp_path, monkeypatch):
    def fails(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("mimgen.files.os.replace", fails)
    with pytest.raises(KeyboardInterrupt):
        save_image(torch.zeros(3, 4, 4), tmp_path / "a.png")
    assert list(tmp_path.iterdir()) == []


def test_a_long_prompt_is_cut_with_a_warning(model, tmp_path):
    with pytest.warns(UserWarning, match='first 5 of 7 words are read of "one two'):
        run(model, "one two three four five six seven", "--out", tmp_path / "a.png")


MISTAKES: list[tuple[tuple[str, ...], str]] = [
    (("a", "--resolution", "18x24"), "multiples of 4"),
    (("a", "--resolution", "big"), "2 whole numbers like 64x96"),
    (("a", "--resolution", "0x24"), "at least 4 px"),
    (("a", "--steps", "-3"), "steps=-3"),
    (("a", "--temperature", "-1"), "temperature"),
    (("a", "--order", "spiral"), "halton"),
    (("a", "--batch", "0"), "--batch 0"),
    (("a", "--memory", "2"), "from 8 GB on"),
    (("a", "--preview-every", "0"), "--preview-every 0"),
    (("a", "--mask", "MASK"), "--mask needs an image"),
    (("a", "--outpaint", "4,4,4,4"), "--outpaint needs an image"),
    (("a", "--strength", "0.5"), "--strength needs an image"),
    (("a", "--image", "none.png"), "none.png cannot be read"),
    (("a", "--image", "TEXT"), "no image that can be read"),
    (("a", "--image", "FACE", "--mask", "TEXT"), "no image that can be read"),
    (("a", "--image", "FACE", "--mask", "SMALL"), "both must have one size"),
    (("a", "--image", "FACE", "--mask", "BLACK"), "covers nothing"),
    (("a", "--image", "FACE", "--mask", "WHITE"), "covers the whole image"),
    (("a", "--image", "FACE", "--mask", "MASK", "--dilate", "9"), "covers every token"),
    (("a", "--image", "FACE", "--mask", "MASK", "--dilate", "-1"), "--dilate -1"),
    (("a", "--image", "FACE", "--mask", "MASK", "--feather", "-2"), "--feather -2"),
    (("a", "--image", "FACE", "--mask", "MASK", "--outpaint", "4,0,0,0"), "one at a time"),
    (("a", "--image", "FACE", "--strength", "0"), "above 0 and up to 1"),
    (("a", "--image", "FACE", "--strength", "1.5"), "above 0 and up to 1"),
    (("a", "--image", "FACE", "--outpaint", "4,4"), "4 whole numbers like 16,0,16,0"),
    (("a", "--image", "FACE", "--outpaint", "3,0,0,0"), "multiples of 4"),
    (("a", "--image", "FACE", "--outpaint", "0,0,0,0"), "at least one"),
    (("a", "--image", "FACE", "--resolution", "0x64"), "--resolution 0x64: give a height and a width of at least 4 px"),
    (("a", "--image", "FACE", "--mask", "MASK", "--resolution", "64x0"), "at least 4 px"),
    (("a", "--guidance", "nan"), "give a finite number"),
    (("a", "--image", "ODD", "--outpaint", "4,0,0,0"), "multiples of 4, such as 16x20"),
    (("--prompts", "none.txt"), "none.txt cannot be read"),
    (("a", "--prompts", "none.txt"), "either prompts in quotes or a file"),
    (("--prompts", "none.txt", "--grid", "2"), "leave it out"),
    (("--prompts", "none.txt", "--out", "x.png"), "give a folder"),
]


@pytest.mark.parametrize(("words", "expected"), MISTAKES, ids=lambda value: value if isinstance(value, str) else None)
def test_mistakes(model, face, tmp_path, capsys, words, expected):
    files = {"FACE": face, "MASK": tmp_path / "mask.png", "TEXT": tmp_path / "text.png"}
    files["TEXT"].write_text("no image")
    sizes = (("BLACK", 24, 16, 0), ("WHITE", 24, 16, 255), ("SMALL", 8, 8, 255), ("ODD", 23, 16, 9))
    for name, width, height, grey in sizes:
        files[name] = tmp_path / f"{name}.png"
        Image.new("L", (width, height), grey).save(files[name])
    out = () if "--out" in words or "--prompts" in words else ("--out", tmp_path / "out.png")
    run(model, *(files.get(word, word) for word in words), *out, status=2)
    assert expected in complaint(capsys)
    assert not (tmp_path / "out.png").exists()


def test_with_little_memory_the_text_encoder_stays_on_the_cpu(model, monkeypatch):
    moved = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(memory, "move_parts", lambda *given: moved.append(given))
    pipeline = open_pipeline(model, 12)
    assert moved == [((pipeline.transformer, pipeline.vqvae), pipeline.text_encoder, memory.PRESETS[12], "cuda")]


@pytest.mark.parametrize("part", ["transformer", "vqvae", "text_encoder"])
def test_a_missing_part_is_named(part, tmp_path, capsys):
    tiny_pipeline().save(tmp_path)
    (tmp_path / part / "config.json").unlink()
    run(str(tmp_path), "a cat", "--out", tmp_path / "a.png", status=2)
    assert f"part {part} is missing" in complaint(capsys)


def test_a_wrong_folder(tmp_path, capsys):
    run(str(tmp_path), "a cat", "--out", tmp_path / "a.png", status=2)
    assert "no model_index.json" in complaint(capsys)
