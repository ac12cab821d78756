"""Rows computed in the test's own process: a new one imports everything again."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mimgen.recipes.compare import engine


def here(path: Path, compute: Callable[..., dict], *arguments: Any) -> dict:
    """As `cached_row`, in this process."""
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        machine = {"cpu": "a cpu", "threads": 1, "gpus": []}
        row = {**compute(*arguments), "made_by": {"machine": machine}}
        path.write_text(json.dumps(row), encoding="utf-8")
    return json.loads(path.read_text("utf-8"))


def use(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let comparisons compute their rows here."""
    monkeypatch.setattr(engine, "cached_row", here)
