"""`mimgen compare probes`: the choice of layers, the table, and resuming."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mimgen.errors import UserError
from mimgen.recipes.compare.probes import _table, entry_of, main
from mimgen.recipes.compare.probes_row import candidates


def test_layers_tried_are_spread_and_end_at_the_output():
    assert candidates(12) == (2, 5, 8, 11, 12)
    assert candidates(2) == (0, 1, 2) and candidates(0) == (0,)


def one(model: str, seed: int, accuracy: float, training: dict | None = None) -> dict:
    return {
        "model": model, "data": "emoji", "seed": seed, "accuracy": {"knn": accuracy}, "layer": 3, "features": 1024,
        "encoder": {"parameters": 12_000}, "training": training,
    }  # fmt: skip


def test_the_table_has_mean_and_spread_of_seeds():
    seen = {"images": 64_000}
    heads, lines = _table([one("hog", 0, 0.5), one("hog", 1, 0.6), one("train:mae", 0, 0.25, seen)], ["knn"])
    assert heads[:2] == ["encoder", "knn %"]
    assert lines[0] == ["hog", "55.0 (50.0 to 60.0)", "3", "1,024", "12,000", "-"]
    assert lines[1][1] == "25.0" and lines[1][-1] == "64,000"


def test_trained_entries_name_configs():
    assert entry_of("train:mae").config == "mae"
    chosen = entry_of("train:vqgan-fsq")
    assert chosen.config == "vqgan" and dict(chosen.arguments) == {"quantizer": "fsq"}


def test_rows_are_kept_and_gathered(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    words = ["--models", "hog", "--data", "emoji", "--seeds", "0,1", "--probes", "knn", "--out", str(tmp_path)]
    facts = {"label": "subgroup", "classes": 9, "n": 30, "test_n": 10, "pixels": 64, "majority": 0.1}
    kept = {**one("hog", 0, 0.5), **facts, "made_by": {"machine": {"cpu": "c", "threads": 1, "gpus": []}}}
    (tmp_path / "rows").mkdir()
    for seed, accuracy in ((0, 0.5), (1, 0.7)):
        row = {**kept, "seed": seed, "accuracy": {"knn": accuracy}}
        (tmp_path / "rows" / f"hog-emoji-seed{seed}.json").write_text(json.dumps(row), encoding="utf-8")
    assert main(words) == 0
    result = json.loads((tmp_path / "result.json").read_text("utf-8"))
    assert result["scores"]["emoji"]["hog"]["knn"]["mean"] == pytest.approx(0.6)
    assert "| hog | 60.0 (50.0 to 70.0) |" in capsys.readouterr().out
    assert (tmp_path / "result.html").is_file() and (tmp_path / "result.md").is_file()
    with pytest.raises(UserError, match="choose another --out"):
        main([*words, "--limit", "40"])


def test_a_row_is_measured(tmp_path: Path):
    from mimgen.recipes.compare.probes_row import ProbeRequest, row

    found = row(ProbeRequest("hog", "emoji", 32, ("linear", "abmilp"), 0, 40, tmp_path))
    assert set(found["accuracy"]) == {"linear", "abmilp"} and found["n"] == 40
    assert found["layer"] == "output" and found["label"] == "subgroup"
    assert found["encoder"]["source"] == "hog" and len(found["encoder"]["digest"]) == 16


def test_mistakes_name_the_fix(tmp_path: Path):
    with pytest.raises(UserError, match="frozen features"):
        main(["--probes", "fine-tune", "--out", str(tmp_path)])
    with pytest.raises(UserError, match="--models is empty"):
        main(["--models", ",", "--out", str(tmp_path)])
    with pytest.raises(UserError, match="unknown config"):
        main(["--models", "train:maee", "--out", str(tmp_path)])
