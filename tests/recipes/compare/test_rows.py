"""Rows of a study: made once, in a process of their own, and failing alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mimgen.cli.compare import main
from mimgen.errors import UserError
from mimgen.recipes.compare.rows import made_once, numbers
from mimgen.recipes.compare.tokenizers import Options, baseline
from mimgen.report.run_folder import check_same_settings
from mimgen.report.tables import markdown, mean_range


def test_a_row_is_made_in_another_process_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "rows" / "one.json"
    row = made_once(path, baseline, Options(data=str(tmp_path / "absent")), 16)
    assert "no data at" in row["failed"] and not path.exists()
    row = made_once(path, baseline, Options(limit=40), 16)  # what failed is tried again
    assert row["label"] == "subgroup" and row["train_n"] == 40 and "versions" in row["made_by"]
    assert not path.with_suffix(".error.txt").exists()
    path.write_text(json.dumps({"kept": True}), encoding="utf-8")
    assert made_once(path, baseline, Options(limit=40), 16) == {"kept": True}


def test_an_interrupted_row_ends_the_study(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        made_once(tmp_path / "one.json", exec, "raise KeyboardInterrupt")  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


def test_two_studies_do_not_share_a_folder(tmp_path: Path) -> None:
    requested = {"size": "tiny", "images": 100}
    check_same_settings(tmp_path, requested, "study")
    check_same_settings(tmp_path, requested, "study")
    with pytest.raises(UserError, match=r"images 100; continue with these, or choose another --out"):
        check_same_settings(tmp_path, {**requested, "images": 200}, "study")


def test_numbers_come_with_commas() -> None:
    assert numbers("0, 2,2,1", "seeds") == [0, 2, 1]
    for wrong in ("", "a", "1;2", "-1"):
        with pytest.raises(UserError, match="--seeds"):
            numbers(wrong, "seeds")


def test_cells_show_mean_and_range() -> None:
    assert mean_range([1.0]) == "1.00" and mean_range([None, None]) == "-"
    assert mean_range([1.0, 2.0, None], 1) == "1.5 (1.0 to 2.0)"
    assert markdown(["a", "b"], [["x", "1"]]).splitlines() == ["| a | b |", "| --- | ---: |", "| x | 1 |"]


def test_the_command_names_its_studies(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0 and "mergevq" in capsys.readouterr().out
    with pytest.raises(UserError, match="did you mean tokenizers"):
        main(["tokenisers"])
