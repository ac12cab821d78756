"""What a generator's run records of its text encoder, and what an earlier part of the run recorded."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from mimgen.encoders import CachedText
from mimgen.errors import UserError
from mimgen.training.checkpoint import newest

__all__ = ["record_with_text"]

TEXT = "text_encoder."  # in front of its weights' names in a checkpoint


def record_with_text(record: Mapping[str, Any], text_encoder: nn.Module | None, out: Path) -> dict[str, Any]:
    """`record`, without the text encoder where the run in `out` was started before it was recorded.

    Args:
        record: of the run.
        text_encoder: of its objective; None where it has none.
        out: the run folder.

    Raises:
        UserError: that run has another text encoder, or cached text states where this one has none or the reverse.
    """
    recorded, resumed = dict(record), None if text_encoder is None else _resumed_run(out)
    if resumed is None:
        return recorded
    now = recorded.get("text_encoder")
    if now != resumed.encoder and (resumed.encoder is not None or resumed.trained):
        raise UserError(
            f"{out} was started with another text encoder ({resumed.encoder or 'trained along'}, now "
            f"{now or 'trained along'}): pass --clip and --init as it was started with, or choose another --out"
        )
    if isinstance(text_encoder, CachedText) == resumed.holds:
        how, fix = (
            ("without", "leave it out") if resumed.holds else ("with", "pass states of the same text encoder")
        )
        raise UserError(
            f"{out} was started {how} --text-states, and a run resumes as it was started, since its checkpoints hold "
            f"the text encoder or do not: {fix}, or choose another --out"
        )
    if resumed.encoder is None:
        recorded.pop("text_encoder", None)
    return recorded


@dataclass(frozen=True)
class _ResumedRun:
    """What the newest checkpoint of a run says of its text encoder.

    Attributes:
        encoder: hash of the frozen one; None where it was trained, or not recorded yet.
        holds: its weights are there, as they are where no cached text states are read.
        trained: it was trained along.
    """

    encoder: str | None
    holds: bool
    trained: bool


def _resumed_run(out: Path) -> _ResumedRun | None:
    """None without a checkpoint, or with a damaged one, of which the loop says what to do."""
    from safetensors import SafetensorError

    folder = newest(out)
    if folder is None:
        return None
    try:
        record = json.loads((folder / "state.json").read_text("utf-8"))["identity"]["record"]
        model, moments = (_names(folder / f"{part}.safetensors") for part in ("model", "optimizer"))
    except (OSError, ValueError, KeyError, SafetensorError):
        return None
    holds, trained = (any(name.startswith(TEXT) for name in names) for names in (model, moments))
    return _ResumedRun(record.get("text_encoder"), holds, trained)


def _names(file: Path) -> list[str]:
    from safetensors import safe_open

    with safe_open(file, "pt") as tensors:
        return list(tensors.keys())
