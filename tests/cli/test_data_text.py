"""`mimgen data cache-text`, and training on what it keeps, from outside."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from mimgen.cli import main as cli
from mimgen.encoders import ByteTextEncoder, CachedText


@pytest.fixture
def data(tmp_path: Path) -> str:
    folder, rows = tmp_path / "data", []
    folder.mkdir()
    for number in range(4):
        Image.new("RGB", (16, 16), (60 * number, 0, 0)).save(folder / f"{number}.png")
        rows.append({"file_name": f"{number}.png", "text": f"red {number // 2}"})
    (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return str(folder)


@pytest.fixture
def encoder(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    made = ByteTextEncoder(width=32, depth=1, max_words=16)
    made.save_pretrained(tmp_path / "pipeline" / "text_encoder")
    (tmp_path / "pipeline" / "model_index.json").write_text("{}")
    return tmp_path / "pipeline" / "text_encoder"


def fails(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert cli.main(words) == 2
    err = capsys.readouterr().err
    assert "Traceback" not in err
    return err


def test_states_of_every_caption(
    data: str, encoder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("data", "cache-text", "--data", data, "--out", str(tmp_path / "text"))
    assert cli.main([*words, "--encoder", str(encoder.parent)]) == 0
    output = capsys.readouterr().out
    assert "text states of 3 captions" in output and f"--init {encoder.parent} --lora 8" in output
    assert CachedText.open(tmp_path / "text", encoder).encode(["red 1", ""]).states.shape == (2, 16, 32)
    assert cli.main([*words, "--encoder", str(encoder)]) == 0
    assert f"--clip {encoder}" in capsys.readouterr().out


def test_what_cannot_be(data: str, encoder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("data", "cache-text", "--data", data, "--out", str(tmp_path / "text"), "--encoder")
    assert "--encoder takes" in fails(capsys, *words, str(tmp_path / "nowhere"))
    assert "no pipeline" in fails(capsys, *words, data)
    assert "at least one caption" in fails(capsys, *words, str(encoder), "--batch-size", "0")
    train = ("train", "meissonic", "--size", "tiny256", "--data", data, "--out", str(tmp_path / "run"))
    assert "pass --clip" in fails(capsys, *train, "--text-states", str(tmp_path / "text"))
    assert "no cached text states" in fails(
        capsys, *train, "--text-states", data, "--clip", str(encoder), "--steps", "1", "--tracker", "none"
    )
    assert "--init takes" in fails(capsys, *train, "--init", str(tmp_path / "nowhere"))
    assert "pass --init" in fails(capsys, *train, "--lora", "4")
    assert "give at least 1" in fails(capsys, *train, "--lora", "0", "--init", "bundled")


def test_a_first_stage_trains_its_tokenizer(data: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["train", "meissonic", "--data", data, "--steps", "1", "--precision", "fp32", "--tracker", "none"]
    assert cli.main([*words, "--size", "tiny256", "--out", str(tmp_path / "one"), "--time-limit", "600"]) == 0
    assert "(vqgan, tiny)" in capsys.readouterr().out
    second = ["--size", "tiny1024", "--init", str(tmp_path / "one"), "--out", str(tmp_path / "two")]
    assert cli.main([*words, *second]) == 0
    output = capsys.readouterr().out
    assert f"starting with the weights of {tmp_path / 'one' / 'pipeline'}; new, sampled at random: down_block" in output
    assert cli.main([*words, *second, "--checkpointing", "--sampling-steps", "2"]) == 0, "memory may change"
