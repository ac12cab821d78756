"""`mimgen evaluate scenes` on the true images and on images from a folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from mimgen.cli.evaluate_scenes import main
from mimgen.data.builtin.scenes import open_scenes
from mimgen.errors import UserError


def test_true_images_score_everything(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "scenes.json"
    assert main(["--samples", "scenes", "--split", "val", "--limit", "12", "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "overall       100.0 %" in printed and "position" in printed
    stored = json.loads(out.read_text("utf-8"))
    assert (
        stored["scores"]["overall"] == 1.0
        and stored["protocol"]["data"] == "scenes/val"
        and stored["n"] == 12
    )
    page = out.with_suffix(".html").read_text("utf-8")
    assert "Right images" in page and "Wrong images" not in page


def test_images_of_a_folder_are_held_against_their_captions(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scenes = open_scenes(64, "val")
    lines = []
    for index in range(6):
        Image.fromarray(scenes[index].image.permute(1, 2, 0).numpy()).save(tmp_path / f"{index}.png")
        caption = scenes.captions[index] if index else "four red circles"
        lines.append(json.dumps({"file_name": f"{index}.png", "text": caption}))
    (tmp_path / "metadata.jsonl").write_text("\n".join(lines))
    assert main(["--samples", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "1 x number" in printed and "overall        90.0 %" in printed


def test_bad_flags_are_refused() -> None:
    with pytest.raises(UserError, match="at least 1"):
        main(["--limit", "0"])
    with pytest.raises(UserError, match="no split"):
        main(["--samples", "scenes", "--split", "test"])
