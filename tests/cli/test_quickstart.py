"""The quickstart at its smallest: all stages, the report, a rerun, other options."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mimgen.cli import main as cli
from mimgen.recipes import quickstart

STAGES = ("tokenizer", "generator", "reconstruction", "composition", "probe")


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished quickstart."""
    folder = tmp_path_factory.mktemp("quickstart") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(quickstart, "WATCHES", 1)
        patch.setattr(quickstart, "WATCHED", 4)
        # As many steps on every machine, and time enough for them.
        patch.setattr(quickstart, "steps_that_fit", lambda run, out, seconds: 3)
        assert cli.main(["quickstart", "--minutes", "90", "--size", "tiny", "--out", str(folder)]) == 0
    return folder


def test_leaves_report_pipeline_and_numbers(out: Path) -> None:
    text = (out / "report.html").read_text("utf-8")
    assert text.count("data:image/png") >= 60
    assert "Does the image show what the prompt says?" in text
    result = json.loads((out / "result.json").read_text("utf-8"))
    assert set(STAGES) <= set(result)
    assert result["composition"]["n"] == 164
    assert result["composition"]["fid"]["extractor"] == "lab-hog"
    assert {"commit", "version", "machine", "date"} <= set(result)
    assert (out / "generator" / "quality.jsonl").is_file()


def test_its_pipeline_generates(out: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    assert cli.main(["generate", "red heart", "--model", str(out), "--out", str(path), "--steps", "2"]) == 0
    assert path.stat().st_size > 0


def test_a_rerun_does_only_what_is_missing(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    marker = out / "stages" / "reconstruction.json"
    others = {name: (out / "stages" / f"{name}.json").stat().st_mtime_ns for name in STAGES if name != marker.stem}
    marker.unlink()
    assert cli.main(["quickstart", "--minutes", "90", "--size", "tiny", "--out", str(out)]) == 0
    assert capsys.readouterr().out.count("done before") == len(STAGES) - 1
    assert marker.is_file()
    assert all((out / "stages" / f"{name}.json").stat().st_mtime_ns == time for name, time in others.items())


def test_other_options_are_refused(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["quickstart", "--minutes", "3", "--out", str(out)]) == 2
    assert "minutes 90" in capsys.readouterr().err
