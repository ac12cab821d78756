"""Result files, their pages and their comparison."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mimgen.cli import evaluate
from mimgen.errors import UserError
from mimgen.report.compare import compare
from mimgen.report.curves import Curve
from mimgen.report.page import Scores
from mimgen.report.result import Score, flat_scores, read_outcome, write_outcome


def result(**changes: Any) -> dict[str, Any]:
    made = {
        "measure": "probe",
        "model": "a <model>",
        "protocol": {"data": "emoji", "split": "val", "probe": {"seeds": [0, 1, 2]}},
        "scores": {
            "group": {
                "knn": 0.5,
                "linear": {"mean": 0.6, "low": 0.55, "high": 0.65, "values": [0.55, 0.6, 0.65]},
            }
        },
        "ranks": list(range(99)),
    }
    return made | changes


def test_a_result_is_a_file_and_a_page(tmp_path: Path) -> None:
    table = Scores("By label", "", ("label", "share"), [("group", 0.5)])
    curve = Curve("accuracy by layer", "layer", {"knn": [(0, 0.1), (1, 0.5)]})
    path = write_outcome(
        tmp_path / "deep" / "a.json", result(), [table], [curve], title="A probe", lead="So it went."
    )
    stored = read_outcome(path)
    assert stored["scores"] == result()["scores"] and stored["tool"] == "mimgen" and "commit" in stored
    page = path.with_suffix(".html").read_text("utf-8")
    assert "A probe" in page and "So it went." in page and "accuracy by layer" in page and "By label" in page
    assert "a &lt;model&gt;" in page and "<model>" not in page
    assert "protocol / probe / seeds" in page and "99 values, in the JSON file" in page
    assert "group / linear" in page and "0.55 to 0.65" in page
    assert "http://" not in page and "https://" not in page and "<script" not in page
    assert sorted(file.name for file in path.parent.iterdir()) == ["a.html", "a.json"]


def test_many_scores_become_a_table(tmp_path: Path) -> None:
    path = write_outcome(tmp_path / "a.json", result(scores={f"layer {i}": i / 10 for i in range(9)}))
    assert "<td>layer 8</td><td>0.8</td>" in path.with_suffix(".html").read_text("utf-8")


def test_scores_are_found_at_any_depth() -> None:
    found = flat_scores(
        {
            "a": 1,
            "b": {"c": {"mean": 2.0, "low": 1, "high": 3, "values": [1, 3]}},
            "d": None,
            "e": True,
            "f": "x",
        }
    )
    assert found == {"a": Score(1.0), "b / c": Score(2.0, 1.0, 3.0, 2)}


def test_what_cannot_be_a_result_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="lacks protocol"):
        write_outcome(tmp_path / "a.json", {"measure": "x", "scores": {}})
    with pytest.raises(UserError, match="written beside it"):
        write_outcome(tmp_path / "a.html", result())
    with pytest.raises(UserError, match="no result at"):
        read_outcome(tmp_path / "none.json")
    broken = tmp_path / "broken.json"
    broken.write_text("{")
    with pytest.raises(UserError, match="cannot be read as JSON"):
        read_outcome(broken)
    broken.write_text("[1]")
    with pytest.raises(UserError, match="holds no scores"):
        read_outcome(broken)


def test_differences_and_matching_protocols() -> None:
    other = result(
        scores={"group": {"knn": 0.75, "linear": {"mean": 0.7, "low": 0.66, "high": 0.74}}, "extra": 1}
    )
    found = compare(result(), other)
    assert found.protocol == {} and found.tools == {}
    rows = {row.name: row for row in found.rows}
    assert rows["group / knn"].difference == 0.25 and rows["group / knn"].apart is None
    assert rows["group / linear"].difference == pytest.approx(0.1) and rows["group / linear"].apart is True
    assert rows["extra"].first is None and rows["extra"].difference is None


def test_fields_that_differ_are_named() -> None:
    first = result(versions={"torch": "2.0"})
    second = result(
        protocol={"data": "emoji", "probe": {"seeds": [0]}}, versions={"torch": "2.1"}, measure="other"
    )
    found = compare(first, second)
    assert found.protocol == {
        "measure": ("probe", "other"),
        "split": ("val", "(not stated)"),
        "probe / seeds": ([0, 1, 2], [0]),
    }
    assert found.tools == {"versions / torch": ("2.0", "2.1")}
    with pytest.raises(UserError, match="no score in common"):
        compare(first, result(scores={"fid": 3.0}))


def test_the_command_prints_and_its_status_says_whether_they_match(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = write_outcome(tmp_path / "a.json", result())
    second = write_outcome(tmp_path / "b.json", result(model="b", scores={"group": {"knn": 0.25}}))
    assert evaluate.main(["compare", str(first), str(second)]) == 0
    printed = capsys.readouterr().out
    assert "The protocols match." in printed and "-0.25" in printed and "group / knn" in printed
    changed = json.loads(second.read_text("utf-8"))
    changed["protocol"]["data"] = "photos"
    second.write_text(json.dumps(changed))
    assert evaluate.main(["compare", str(first), str(second)]) == 1
    printed = capsys.readouterr().out
    assert "do NOT match" in printed and "data: A 'emoji', B 'photos'" in printed
