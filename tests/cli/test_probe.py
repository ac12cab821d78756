"""`mimgen probe`: data, layers, lines and the whole command on a tiny encoder."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mimgen.cli.options import parse
from mimgen.cli.probe import Options, main
from mimgen.encoders import VitEncoder
from mimgen.errors import UserError
from mimgen.probing.data import load_masks, probe_data
from mimgen.probing.intervals import student_t
from mimgen.probing.probes import check_probes
from mimgen.probing.rows import ProbeRow
from mimgen.probing.run import layers_of


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny encoder, and data of two classes, red and blue, with masks of their left halves."""
    root = tmp_path_factory.mktemp("probe")
    torch.manual_seed(0)
    encoder = VitEncoder(image_size=16, patch=4, width=16, depth=2, heads=2)
    encoder.save_pretrained(root / "vit" / "encoder")
    generator = np.random.default_rng(0)
    (root / "masks").mkdir()
    for name, channel in (("red", 0), ("blue", 2)):
        (root / "data" / name).mkdir(parents=True)
        for number in range(60):
            pixels = generator.integers(0, 90, (16, 16, 3), dtype=np.uint8)
            pixels[:, :8, channel] += 150
            Image.fromarray(pixels).save(root / "data" / name / f"{name}{number}.png")
    data = probe_data(str(root / "data"), 16)
    mask = np.zeros((16, 16), dtype=np.uint8)
    mask[:, :8], mask[0] = 1, 255
    for part in (data.train, data.test):
        for row in range(len(part)):
            path = (root / "masks" / part[row].key).with_suffix(".png")
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(mask).save(path)
    return root


def words(folder: Path, tmp_path: Path, *more: str) -> list[str]:
    return ["--model", str(folder / "vit"), "--data", str(folder / "data"), "--pixels", "16", "--cache",
            str(tmp_path / "cache"), "--out", str(tmp_path / "result.json"), *more]  # fmt: skip


def test_every_kind_of_probe_in_one_command(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    more = ["--probes", "knn,linear,fine-tune,segment-knn", "--masks", str(folder / "masks"), "--layers", "0,2"]
    assert main(words(folder, tmp_path, *more, "--seeds", "0,1", "--few-shot", "4", "--epochs", "2")) == 0
    result = json.loads((tmp_path / "result.json").read_text("utf-8"))
    scores = result["scores"]
    assert {"knn, layer 0", "linear, output, 4 a class", "fine-tune", "segment-knn, layer 0"} <= set(scores)
    assert scores["linear, output"]["mean"] > 0.9 > scores["linear, output"]["majority"]
    assert scores["segment-knn, layer 0"]["mean"] > 0.8
    assert len(scores["knn, layer 0"]["values"]) == 2
    assert result["protocol"]["test_n"] + result["protocol"]["n"] == 120
    assert result["chosen_layers"]["fine-tune"] is None and result["chosen_layers"]["linear"] in (0, 2)
    assert "Score by layer" in (tmp_path / "result.html").read_text("utf-8")
    assert "| linear, output, 4 a class |" in capsys.readouterr().out
    assert len(list((tmp_path / "cache").iterdir())) == 4  # mean and tokens, of train and test, each once


def test_an_attentive_probe_shows_where_it_looks(folder: Path, tmp_path: Path):
    assert main(words(folder, tmp_path, "--probes", "efficient", "--seeds", "0")) == 0
    score = json.loads((tmp_path / "result.json").read_text("utf-8"))["scores"]["efficient"]
    assert score["mean"] > 0.9 and score["over"] == "test images"
    page = (tmp_path / "result.html").read_text("utf-8")
    assert "Where the probe efficient looks" in page and page.count("data:image/png") >= 24


def test_images_without_the_label_are_left_out_and_said(monkeypatch: pytest.MonkeyPatch):
    from mimgen.data import MemoryDataset

    labels = torch.tensor([0, -1, 1, 0, -1, 1])
    images = torch.arange(6, dtype=torch.uint8)[:, None, None, None].expand(-1, 3, 4, 4)
    names = ["a", "b"]
    data = MemoryDataset("few", "mark", images, [""] * 6, list("uvwxyz"), {"kind": labels}, {"kind": names})
    monkeypatch.setattr("mimgen.data.images.open_data", lambda spec, **options: data)
    found = probe_data("few", 4)
    assert found.train_y.tolist() == [0, 1, 0, 1] and found.train.indices == (0, 2, 3, 5)
    assert "2 of 6 images of train" in found.notes[0]
    assert (found.train.images[:, 0, 0, 0] * 255).tolist() == [0, 2, 3, 5]
    with pytest.raises(UserError, match="kinds"):
        probe_data("few", 4, label="kinds")
    labels.fill_(-1)
    with pytest.raises(UserError, match="no image of few"):
        probe_data("few", 4)


def test_masks_keep_their_classes_and_what_is_ignored(folder: Path):
    data = probe_data(str(folder / "data"), 32)
    masks = load_masks(folder / "masks", data.test)
    assert masks.shape == (len(data.test), 32, 32)
    assert bool((masks[:, :2] == -1).all())
    assert bool((masks[:, 2:, :16] == 1).all()) and bool((masks[:, 2:, 16:] == 0).all())
    with pytest.raises(UserError, match="no such folder"):
        load_masks(folder / "absent", data.test)
    with pytest.raises(UserError, match="is missing"):
        load_masks(folder / "vit", data.test)


def test_layers_are_read_as_words_or_numbers():
    assert layers_of("last", 3) == (3,) and layers_of("all", 3) == (0, 1, 2, 3)
    assert layers_of("0, -1,3", 3) == (0, -1, 3)
    with pytest.raises(UserError, match="last, all, or numbers"):
        layers_of("first", 3)


def test_a_score_has_the_interval_of_its_seeds():
    line = ProbeRow("knn", 2, None, (0.5, 0.7), 0.6, 0.1, None, torch.tensor([[1.0, 0], [1, 0]]).double(), {})
    score = line.score()
    half = student_t(0.975, 1) * 0.1  # the standard error of 0.5 and 0.7
    assert score["mean"] == pytest.approx(0.6) and score["high"] - score["mean"] == pytest.approx(half)
    assert score["over"] == "seeds" and score["over_test_images"] == [0.0, 1.0]
    alone = ProbeRow("knn", 2, 5, (0.5,), 0.6, 0.1, None, torch.ones(1, 4).double(), {})
    assert alone.score()["over"] == "test images"
    assert alone.name(2, True) == "knn, output, 5 a class" and alone.name(3, True) == "knn, layer 2, 5 a class"


def test_mistakes_name_the_fix(folder: Path):
    with pytest.raises(UserError, match="did you mean linear"):
        check_probes(["knn", "lineer"])
    requested = [
        "--model",
        "pixels",
        "--data",
        str(folder / "data"),
        "--pixels",
        "16",
        "--cache",
        str(folder / "cache"),
    ]
    with pytest.raises(UserError, match="at least 1"):
        main([*requested, "--few-shot", "0,5"])
    with pytest.raises(UserError, match="pass --masks"):
        main([*requested, "--probes", "segment-knn"])
    with pytest.raises(UserError, match="no weights to fine-tune"):
        main([*requested, "--probes", "fine-tune"])
    assert parse(Options, requested, "mimgen probe").probes == "knn,linear,efficient"
