"""The engine: rows computed once, arms and seeds, failures, what is written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mimgen import configs
from mimgen.cli.compare import main
from mimgen.errors import UserError
from mimgen.recipes.compare import Arm, Compare, Hypothesis, Paired, cached_row, engine
from mimgen.report.sections import Column, Section


def test_a_row_is_computed_once_in_a_process_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "rows" / "one.json"
    row = cached_row(path, dict, {"value": 9})
    assert row["value"] == 9 and "versions" in row["made_by"]
    assert cached_row(path, dict, {"value": 4}) == row, "the file decides"


def test_a_failure_is_named_and_tried_again(tmp_path: Path) -> None:
    path = tmp_path / "one.json"
    assert "unknown config 'vggan'; did you mean vqgan" in cached_row(path, configs.training, "vggan")["failed"]
    assert path.with_suffix(".error.txt").is_file()
    assert cached_row(path, dict, {"value": 4})["value"] == 4 and not path.with_suffix(".error.txt").exists()


def test_an_interrupted_row_ends_the_comparison(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        cached_row(tmp_path / "one.json", exec, "raise KeyboardInterrupt")
    assert not list(tmp_path.iterdir())


calls: list[tuple[str, int]] = []


def score(folder: Path, seed: int, rows: dict[str, Any], value: float) -> dict[str, Any]:
    calls.append((folder.name, seed))
    return {"value": value + seed / 100}


def add(folder: Path, seed: int, rows: dict[str, Any]) -> dict[str, Any]:
    return {"value": rows["first"]["value"] + 1}


def fail(folder: Path, seed: int, rows: dict[str, Any]) -> dict[str, Any]:
    raise UserError("too small")


def here(path: Path, compute: Any, *arguments: Any) -> dict[str, Any]:
    if not path.is_file():
        try:
            row = {**compute(*arguments), "made_by": {"machine": {"cpu": "a cpu", "threads": 1, "gpus": []}}}
        except UserError as error:
            return {"failed": str(error)}
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(row), encoding="utf-8")
    return json.loads(path.read_text("utf-8"))


def toy(**more: Any) -> Compare:
    from functools import partial

    arms = [
        Arm("new", {"first": partial(score, value=0.5), "second": add}),
        Arm("old", {"first": partial(score, value=0.2), "second": fail}),
        Arm("broken", {"first": fail, "second": add}),
        Arm("chance", {"first": partial(score, value=0.1)}, seeded=False),
    ]
    columns = (Column("first", "first.value", 2), Column("second", "second.value", 1))
    hypotheses = (
        Paired("new beats old", "new", "old", {"first": "first.value"}, {}),
        Hypothesis("old is above chance", lambda rows: {
            "first": rows["old"]["first"]["value"] - rows["chance"]["first"]["value"]}),
    )  # fmt: skip
    chosen: dict[str, Any] = {"seeds": (0, 1), "protocol": {"data": "toy"}, "arms": arms, **more}
    return Compare("toy", "A toy", sections=lambda results: [Section("All", columns, results)],
                   hypotheses=hypotheses, **chosen)  # fmt: skip


def test_arms_seeds_failures_and_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "cached_row", here)
    calls.clear()
    told: list[str] = []
    done = toy().run(tmp_path, told.append)
    assert told[0] == "[1/7] new, seed 0" and told[-1] == "[7/7] broken, seed 1"
    assert ("chance-seed0", 0) in calls and ("chance-seed1", 1) not in calls, "no seed changes it"
    assert "old, seed 1, second failed: too small" in done.failures and len(done.failures) == 4
    assert not list(tmp_path.glob("rows/broken*")), "without the first part the others are not tried"
    result = json.loads((tmp_path / "result.json").read_text("utf-8"))
    assert result["scores"]["All"]["new"]["second"]["mean"] == pytest.approx(1.505)
    assert result["scores"]["All"]["chance"] == {"first": 0.1}
    assert [one["outcome"] for one in result["outcomes"]] == ["supported", "supported"]
    assert "| new | 0.51 (0.50 to 0.51) | 1.5 (1.5 to 1.5) |" in done.text and "a cpu, threads: 1" in done.text
    assert "<table" in (tmp_path / "result.html").read_text("utf-8")
    assert (tmp_path / "result.md").read_text("utf-8") == done.text
    count = len(calls)
    toy().run(tmp_path)
    assert len(calls) == count, "resumes with what is kept"
    with pytest.raises(UserError, match="choose another --out"):
        toy(protocol={"data": "other"}).run(tmp_path)


def test_arms_need_names_of_their_own() -> None:
    with pytest.raises(UserError, match="repeated: a_b"):
        toy(arms=[Arm("a b", {}), Arm("a/b", {})])


def test_the_command_names_its_comparisons(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0 and "mergevq" in capsys.readouterr().out
    with pytest.raises(UserError, match="did you mean tokenizers"):
        main(["tokenisers"])
    with pytest.raises(UserError, match="unknown flag --picture"):
        main(["mim", "--picture", "3"])


def test_lists_come_with_commas() -> None:
    assert configs.parse_integers("0, 2,2,1", "seeds") == [0, 2, 1]
    for wrong in ("", "a", "1;2", "-1"):
        with pytest.raises(UserError, match="--seeds"):
            configs.parse_integers(wrong, "seeds")
    assert configs.parse_words("a, b,a", "models") == ["a", "b"]
