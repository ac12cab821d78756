"""The study of tokenizers: names, rows, resuming and the table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mimgen.errors import UserError
from mimgen.recipes.compare import tokenizers as study_tokenizers
from mimgen.recipes.compare.tokenizers import Entry, Options, entry, main, row


def test_names_are_configs_with_a_variant() -> None:
    assert entry("vqgan") == Entry("vqgan", "vqgan")
    assert entry("vqgan-fsq") == Entry("vqgan-fsq", "vqgan", (("quantizer", "fsq"),))
    with pytest.raises(UserError, match=r"unknown quantizer of vqgan 'fsk'; did you mean fsq"):
        entry("vqgan-fsk")
    with pytest.raises(UserError, match="unknown config 'vggan'; did you mean vqgan"):
        entry("vggan-vq")
    with pytest.raises(UserError, match="trains no tokenizer"):
        entry("meissonic-fsq")


@pytest.mark.filterwarnings("ignore:probe")
def test_a_row_is_trained_and_measured(tmp_path: Path) -> None:
    options = Options(size="tiny", images=16, limit=80, out=tmp_path)
    made = row(entry("vqgan-vq"), options, 1)
    assert made["arguments"] == {"quantizer": "vq"} and made["steps"] == 2 and made["pixels"] == 16
    assert made["psnr"] > 0 and made["val_n"] == 80 and made["codebook_size"] == 64
    assert (tmp_path / "runs" / "vqgan-vq-seed1" / "tokenizer" / "config.json").is_file()
    with pytest.raises(UserError, match="trains no tokenizer"):
        row(entry("meissonic"), options, 0)


def _made(name: str, seed: int) -> dict[str, Any]:
    return {
        "tokens": 16, "codebook_size": 64, "bits": 96, "psnr": 20.0 + seed, "ssim": 0.5, "rfid": 3.0,
        "rfid_extractor": "lab-hog (64 dimensions)", "usage": 0.5, "perplexity": 9.0, "probe_grid": 0.25,
        "encode_images_per_s": 100.0, "decode_images_per_s": None, "seconds": 5.0, "images": 160,
        "parameters": 1000, "pixels": 16, "stopped_by_clock": seed == 1,
        "made_by": {"machine": {"cpu": "a cpu", "threads": 1, "gpus": []}},
    }  # fmt: skip


def test_the_table_joins_seeds_and_names_failures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    requested = []

    def made_once(path: Path, work: object, *arguments: Any) -> dict[str, Any]:
        if work is study_tokenizers.baseline:
            return {"label": "subgroup", "classes": 9, "raw_pixels": 0.5, "majority": 0.1, "train_n": 8, "val_n": 4}
        chosen, _, seed = arguments
        requested.append((chosen.name, seed))
        return {"failed": "UserError: no"} if chosen.name == "vqgan-lfq" else _made(chosen.name, seed)

    monkeypatch.setattr(study_tokenizers, "made_once", made_once)
    words = f"--configs vqgan-fsq,vqgan-lfq --seeds 0,1 --size tiny --out {tmp_path}".split()
    assert main(words) == 1
    assert requested == [("vqgan-fsq", 0), ("vqgan-fsq", 1), ("vqgan-lfq", 0), ("vqgan-lfq", 1)]
    text = (tmp_path / "result.md").read_text("utf-8")
    assert "| vqgan-fsq | 16 | 64 | 96 | 20.50 (20.00 to 21.00) |" in text and "| - | 5 |" in text
    assert "vqgan-lfq, seed 1 failed: UserError: no" in text and "raw pixels 50.0 %" in text
    assert "Ended by the clock before the planned steps: vqgan-fsq (seed 1)" in text
    result = json.loads((tmp_path / "result.json").read_text("utf-8"))
    assert len(result["rows"]) == 4 and result["budget"] == "20,000 images" and "versions" in result
    with pytest.raises(UserError, match="choose another --out"):
        main([*words, "--images", "5"])
    with pytest.raises(UserError, match="--configs is empty"):
        main(["--configs", ",", "--out", str(tmp_path / "other")])
    capsys.readouterr()
