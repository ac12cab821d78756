"""Result files."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest
import torch

import mimgen
from mimgen.evaluation import provenance, write_result

FIELDS = {"tool", "version", "versions", "commit", "changed", "command", "machine", "date"}


def test_provenance_names_everything_and_takes_fields() -> None:
    record = provenance(seed=3, ema=True, guidance=2.0)
    assert set(record) >= FIELDS
    assert (record["seed"], record["ema"], record["guidance"]) == (3, True, 2.0)
    assert record["machine"]["cores"] >= 1
    assert record["machine"]["cpu"]
    assert record["versions"]["torch"] == torch.__version__.split("+")[0] or "torch" in record["versions"]
    json.dumps(record)
    assert provenance(command="mimgen evaluate")["command"] == "mimgen evaluate"


def test_commit_is_that_of_the_checkout_or_null(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    package = tmp_path / "mimgen"
    package.mkdir()
    monkeypatch.setattr(mimgen, "__file__", str(package / "__init__.py"))
    assert provenance()["commit"] is None

    def git(*words: str) -> str:
        identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
        command = ["git", "-C", str(tmp_path), *identity, *words]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    (package / "__init__.py").write_text("")
    git("init", "-q")
    assert provenance()["commit"] is None  # nothing committed yet
    git("add", ".")
    git("commit", "-qm", "first")
    record = provenance()
    assert record["commit"] == git("rev-parse", "HEAD")
    assert record["changed"] is False
    (package / "__init__.py").write_text("x = 1\n")
    assert provenance()["changed"] is True
    below = tmp_path / ".venv" / "mimgen"
    below.mkdir(parents=True)
    monkeypatch.setattr(mimgen, "__file__", str(below / "__init__.py"))
    assert provenance()["commit"] is None  # installed below somebody else's checkout


def test_write_is_json_and_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "run" / "result.json"
    values = {"a": torch.tensor([1, 2]), "b": float("nan"), "c": Path("x"), "d": (1, {"e": None}), "f": "é"}
    assert write_result(path, values) == path
    assert json.loads(path.read_text("utf-8")) == {
        "a": [1, 2],
        "b": None,
        "c": "x",
        "d": [1, {"e": None}],
        "f": "é",
    }
    assert [file.name for file in path.parent.iterdir()] == ["result.json"]


def test_a_failed_write_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_result(tmp_path / "result.json", {"a": 1})
    with pytest.raises(TypeError, match="object"):
        write_result(path, {"a": object()})

    def fail(*_: object) -> None:
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr("os.replace", fail)
        with pytest.raises(OSError, match="disk full"):
            write_result(path, {"a": 2})
    assert json.loads(path.read_text()) == {"a": 1}
    assert len(list(tmp_path.iterdir())) == 1
