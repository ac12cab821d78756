"""`mimgen analyse`: numbers, page, two encoders, mistakes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mimgen.cli.analyse import main
from mimgen.errors import UserError


def run(out: Path, *words: str) -> dict:
    arguments = ["--model", "random-vit", "--pixels", "32", "--limit", "8", "--batch", "8", "--show", "2"]
    assert main([*arguments, "--out", str(out), *words]) == 0
    return json.loads(out.read_text("utf-8"))


def test_numbers_and_page_of_one_encoder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = run(tmp_path / "one.json")
    assert result["measure"] == "analysis" and result["protocol"]["n"] == 8
    scores = result["scores"]
    assert list(scores["token_rank"]) == [*map(str, range(12)), "output"]
    assert "output" not in scores["attention_nmi"]
    distance = scores["attention_distance"]["0"]
    assert distance["low"] < distance["mean"] < distance["high"]
    assert distance["mean"] == pytest.approx(result["uniform_attention_distance"], rel=0.02)  # untrained: uniform
    page = (tmp_path / "one.html").read_text("utf-8")
    for words in ("What does random-vit look at?", "block 11", "token colours", "Which layers agree", "How to read it"):
        assert words in page
    assert "http" not in page.replace("http://www.w3.org", "")
    printed = capsys.readouterr().out
    assert "distance px" in printed and "looking everywhere alike" in printed


def test_two_encoders_on_the_same_images(tmp_path: Path) -> None:
    result = run(tmp_path / "two.json", "--against", "pixels:4")
    assert result["against"]["model"] == "pixels:4"
    between = result["cka_between"]
    assert len(between["values"]) == 13 and len(between["values"][0]) == len(between["columns"])
    assert "high_frequency" in result["late_layers"] and "attention_nmi" not in result["late_layers"]
    assert "Contrastive or masked?" in (tmp_path / "two.html").read_text("utf-8")


def test_mistakes_are_named() -> None:
    with pytest.raises(UserError, match="at least 4 images"):
        main(["--limit", "3"])
    with pytest.raises(UserError, match="--show 0"):
        main(["--show", "0"])
    with pytest.raises(UserError, match="give 8 or more"):
        main(["--model", "pixels:8", "--pixels", "32", "--limit", "8", "--batch", "2"])
