"""`mimgen data doctor | cache-codes`, `mimgen convert`, `mimgen evaluate reconstruction` from outside."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from mimgen.cli import main as cli
from mimgen.encoders import VitEncoder
from mimgen.tokenizers import ConvTokenizer


@pytest.fixture
def noise(tmp_path: Path) -> str:
    folder = tmp_path / "noise"
    folder.mkdir()
    rng = torch.Generator().manual_seed(0)
    for number in range(5):
        pixels = torch.randint(0, 256, (64, 64, 3), generator=rng, dtype=torch.uint8).numpy()
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return str(folder)


@pytest.fixture
def tokenizer(tmp_path: Path) -> str:
    made = ConvTokenizer(8, (1,), 1, 4, quantizer="fsq", levels=(4, 4))
    made.save_pretrained(tmp_path / "tokenizer")
    return str(tmp_path / "tokenizer")


def fails(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert cli.main(words) == 2
    return capsys.readouterr().err


@pytest.mark.filterwarnings("ignore:FID over")
def test_doctor_says_that_noise_does_not_fit(capsys: pytest.CaptureFixture[str], noise: str, tmp_path: Path) -> None:
    out = tmp_path / "report"
    assert cli.main(["data", "doctor", "--data", noise, "--out", str(out), "--shown", "3"]) == 0
    text = capsys.readouterr().out
    assert "DOES NOT FIT" in text
    assert "below 18 dB" in text
    result = json.loads((out / "doctor.json").read_text())
    assert (result["verdict"], result["n"], len(result["worst"])) == ("does not fit", 5, 3)
    assert result["rfid"]["extractor"] == "lab-hog"
    assert Image.open(out / "worst.png").size == (3 * 128, 64)
    page = (out / "index.html").read_text()
    assert "comes back" in page
    assert "Does not fit" in page


@pytest.mark.filterwarnings("ignore:FID over")
def test_evaluate_reconstruction_names_the_extractor(
    capsys: pytest.CaptureFixture[str], noise: str, tokenizer: str
) -> None:
    words = ["evaluate", "reconstruction", "--model", tokenizer, "--data", noise]
    assert "pass --pixels" in fails(capsys, *words)
    assert cli.main([*words, "--pixels", "32"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["rfid"]["extractor"] == "lab-hog"
    assert result["codebook"]["codebook_size"] == 16
    assert "multiples of 4" in fails(capsys, *words, "--pixels", "30")
    assert "no weights at" in fails(capsys, *words, "--pixels", "32", "--extractor", "inception-v3-compat",
                                    "--weights", "nowhere.pth")  # fmt: skip


def test_cache_codes_and_training_on_them(
    capsys: pytest.CaptureFixture[str], noise: str, tokenizer: str, tmp_path: Path
) -> None:
    out = str(tmp_path / "codes")
    words = ["data", "cache-codes", "--tokenizer", tokenizer, "--data", noise, "--out", out]
    assert "pass --size" in fails(capsys, *words)
    assert "multiples of 4" in fails(capsys, *words, "--size", "18")
    assert cli.main([*words, "--size", "16"]) == 0
    output = capsys.readouterr().out
    assert "5 images, 4 x 4 each and mirrored" in output
    quick = ["--size", "tiny", "--steps", "1", "--batch-size", "2", "--precision", "fp32", "--tracker", "none"]
    more = ["--flips", "--sampling-steps", "1", "--out", str(tmp_path / "run")]
    train = [*output.split("mimgen ")[1].split(), *quick, *more]
    assert cli.main(train) == 0
    assert "another size or crop" in fails(capsys, *words, "--size", "32")


def test_convert_lists_and_refuses(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert cli.main(["convert"]) == 0
    listed = capsys.readouterr().out
    assert "llamagen" in listed
    assert "kl16" in listed
    save_file({"a": torch.zeros(1)}, tmp_path / "w.safetensors")
    source, target = str(tmp_path / "w.safetensors"), str(tmp_path / "out")
    assert "did you mean llamagen" in fails(capsys, "convert", "llamgen", source, target)
    assert "is not llamagen" in fails(capsys, "convert", "llamagen", source, target)
    assert "no such file" in fails(capsys, "convert", "llamagen", "nowhere.pt", target)
    assert "--weights" in fails(capsys, "convert", "llamagen", source, target, "--weights", "both")
    assert not Path(target).exists()


def test_convert_there_and_back(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    encoder = VitEncoder(16, 4, width=64, depth=1, heads=1)
    save_file(encoder.state_dict(), tmp_path / "mae.safetensors")
    source, ours, back = (str(tmp_path / name) for name in ("mae.safetensors", "ours", "back.safetensors"))
    assert cli.main(["convert", "mae", source, ours]) == 0
    assert "--reverse takes neither" in fails(capsys, "convert", "mae", ours, back, "--reverse", "--weights", "ema")
    assert cli.main(["convert", "mae", ours, back, "--reverse"]) == 0
    again = load_file(back)
    assert again.keys() == encoder.state_dict().keys()
    assert all(torch.equal(value, again[key]) for key, value in encoder.state_dict().items())


def test_too_little_data(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "holds no images" in fails(capsys, "data", "doctor", "--data", str(tmp_path / "empty"))
    assert "--limit" in fails(capsys, "data", "doctor", "--limit", "1")
