"""From what the user calls a model to the folder of a pipeline."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mimgen.bundled import BUNDLED, pipeline_folder
from mimgen.errors import UserError

__all__ = ["find_pipeline", "read_index"]


def find_pipeline(model: str, flag: str = "--model") -> Path:
    """The pipeline folder meant by `model`: "bundled", a pipeline folder, or a run folder.

    Args:
        model: what the user typed.
        flag: behind which flag; named in errors.

    Raises:
        UserError: there is none; the message says what was looked for.
    """
    if model == BUNDLED:
        if (pipeline_folder() / "model_index.json").is_file():
            return pipeline_folder()
        raise UserError(
            "this installation has no bundled pipeline; train one with `mimgen quickstart` and pass "
            f"{flag} runs/quickstart"
        )
    root = Path(model)
    for candidate in (root, root / "pipeline"):
        if (candidate / "model_index.json").is_file():
            return candidate
    if not root.exists():
        raise UserError(f"no such folder: {root}; {flag} takes a run folder, a pipeline folder or {BUNDLED!r}")
    raise UserError(
        f"{root} holds no pipeline (no model_index.json there or in {root / 'pipeline'}); "
        "a run of `mimgen train meissonic` writes one when it ends"
    )


def read_index(folder: Path) -> dict[str, Any]:
    """The contents of model_index.json of a pipeline folder.

    Raises:
        UserError: there is none, or it is damaged.
    """
    path = folder / "model_index.json"
    if not path.is_file():
        raise UserError(f"{folder} holds no model_index.json: pass a pipeline folder, such as <run>/pipeline")
    try:
        index: dict[str, Any] = dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise UserError(f"{path} is damaged ({error}): copy or train the pipeline again") from error
    return index
