"""The checks before a commit need nothing but the `test` extra, and `.ci/run` runs them."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]


def hooks() -> list[dict[str, object]]:
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text("utf-8"))
    return [{"repo": repo["repo"], **hook} for repo in config["repos"] for hook in repo["hooks"]]


def test_hooks_download_nothing() -> None:
    assert {(hook["repo"], hook["language"]) for hook in hooks()} == {("local", "system")}


def test_the_test_extra_brings_every_tool() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extra = {re.split(r"[<>=]", requirement)[0] for requirement in project["optional-dependencies"]["test"]}
    assert {str(hook["entry"]).split()[0] for hook in hooks()} | {"pre-commit", "pytest"} <= extra


def test_ci_runs_the_hooks_and_the_tests() -> None:
    script = (ROOT / ".ci" / "run").read_text("utf-8")
    assert 'pip install --quiet -e ".[test]"' in script
    assert "pre-commit run --all-files" in script
    assert "pytest" in script
