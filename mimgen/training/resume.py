"""What lets a run resume exactly where it stopped: random states and the check of its settings."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from mimgen.errors import UserError
from mimgen.training.settings import FREE, Settings
from mimgen.types import mix_seed


def random_state() -> dict[str, str]:
    """The states of torch's global generators (dropout), as text for JSON."""
    states = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        states["cuda"] = torch.cuda.get_rng_state()
    return {name: base64.b64encode(state.numpy().tobytes()).decode() for name, state in states.items()}


def restore_random(saved: Sequence[Mapping[str, str]], rank: int, seed: int, step: int) -> None:
    """Restore this rank's generators; a rank that did not exist before gets a seed of its own."""
    # first, for ranks beyond the saved ones: the number of processes may have grown
    torch.manual_seed(mix_seed(seed, "global", step, rank))
    if rank >= len(saved):
        return
    torch.set_rng_state(_state(saved[rank]["cpu"]))
    if "cuda" in saved[rank] and torch.cuda.is_available():
        torch.cuda.set_rng_state(_state(saved[rank]["cuda"]))


def _state(text: str) -> torch.Tensor:
    return torch.frombuffer(bytearray(base64.b64decode(text)), dtype=torch.uint8)


def identity(settings: Settings, record: Mapping[str, Any] | None) -> dict[str, Any]:
    """What a run must not change between two starts, as it reads back from JSON."""
    recorded = {name: value for name, value in (record or {}).items() if name not in FREE}
    return json.loads(json.dumps({"settings": settings.binding(), "record": recorded}, default=str))


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """ "name (was old, now new)" of every field in which two records differ."""
    pairs = {name: (before.get(name, "absent"), now.get(name, "absent")) for name in before.keys() | now.keys()}
    return [f"{name} (was {old}, now {new})" for name, (old, new) in sorted(pairs.items()) if old != new]


def check_same(now: Mapping[str, Any], before: Mapping[str, Any], folder: Path) -> None:
    """Refuse to continue a run under other settings.

    Raises:
        UserError: naming each field that differs, and the two ways out.
    """
    differences = [text for part in ("settings", "record") for text in changes(before[part], now[part])]
    if differences:
        raise UserError(
            f"{folder} holds a run with other settings: {'; '.join(dict.fromkeys(differences))}. "
            f"Choose another --out, or delete {folder} to start anew"
        )
