"""`mimgen train`: what a run is remembered by."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from mimgen.cli import main as cli


def test_a_config_s_own_arguments_must_stay(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "data").mkdir()
    for number in range(8):
        Image.new("RGB", (16, 16), (30 * number, 0, 0)).save(tmp_path / "data" / f"{number}.png")
    reported = ["--size", "tiny", "--data", str(tmp_path / "data"), "--out", str(tmp_path / "run")]
    words = ["train", "mae", *reported, "--precision", "fp32", "--tracker", "none", "--mask-ratio"]
    assert cli.main([*words, "0.5", "--steps", "1"]) == 0
    record = json.loads((tmp_path / "run" / "settings.json").read_text())["record"]
    assert record["mask_ratio"] == 0.5 and record["name"] == "mae"
    capsys.readouterr()
    assert cli.main([*words, "0.6", "--steps", "2"]) == 2
    assert "mask_ratio (was 0.5, now 0.6)" in capsys.readouterr().err
