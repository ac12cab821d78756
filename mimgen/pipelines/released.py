"""Meissonic's release as it is downloaded: how to tell it, and how its authors sample."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mimgen.errors import UserError
from mimgen.generators import MeissonicTransformer
from mimgen.generators.meissonic.predictor import check_scheduler, released_preset
from mimgen.pipelines.presets import Preset
from mimgen.pretrained import class_name

RELEASED_CLASS = "Transformer2DModel"


def is_released(folder: Path) -> bool:
    """Whether `folder` has the layout of the release, which says so in the transformer's configuration."""
    transformer = folder / "transformer"
    return (transformer / "config.json").is_file() and class_name(transformer) == RELEASED_CLASS


def read_released(folder: Path, transformer: MeissonicTransformer) -> Preset:
    """How the authors sample, with the schedule of the folder's scheduler.

    Args:
        folder: of the release.
        transformer: its transformer.

    Raises:
        UserError: no readable scheduler, or it masks with another id than the transformer was trained with.
    """
    path = folder / "scheduler" / "scheduler_config.json"
    try:
        scheduler: dict[str, Any] = dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"{path} cannot be read ({error}): download the whole release") from error
    check_scheduler(scheduler, transformer)
    schedule = scheduler.get("masking_schedule", "cosine")
    return Preset.read({**released_preset(transformer), "schedule": schedule})
