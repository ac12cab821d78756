"""Fine-tuning: an objective that starts with the networks of an earlier run."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any, TypeVar

from torch import nn

from mimgen.errors import UserError
from mimgen.pretrained import load_strictly

log = logging.getLogger(__name__)

Objective = TypeVar("Objective", bound=nn.Module)


def load_initial_weights(objective: Objective, run: str | Path | None) -> Objective:
    """Give `objective.tokenizer`, and `objective.discriminator` where there is one, the weights of a run.

    A run without a discriminator leaves that of the objective as it is, which the log predicts.

    Args:
        objective: built with the sizes of the run; changed in place.
        run: folder that holds `tokenizer/` and maybe `discriminator/`, as `mimgen train` leaves them.
            None changes nothing.

    Returns:
        The same objective.

    Raises:
        UserError: no tokenizer in `run`, or networks of another kind or size.
    """
    if run is None:
        return objective
    folder = Path(run)
    if not (folder / "tokenizer" / "config.json").is_file():
        raise UserError(
            f"nothing to start from: {folder} holds no tokenizer/config.json; pass the --out folder of an earlier run"
        )
    _take_over(objective.tokenizer, folder / "tokenizer")
    discriminator = getattr(objective, "discriminator", None)
    if discriminator is None:
        return objective
    if (folder / "discriminator" / "config.json").is_file():
        _take_over(discriminator, folder / "discriminator")
    else:
        log.warning("%s holds no discriminator: a new one starts, so let it learn before it is heard", folder)
    return objective


def _take_over(part: Any, folder: Path) -> None:
    """Copy the weights of the part in `folder` into `part`, strictly."""
    found = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    kind, named = type(part).__name__, found.get("_class_name", type(part).__name__)
    # diffusers' models are saved under the name of what is wrapped
    inner = type(getattr(part, "model", part)).__name__
    if named not in (kind, inner):
        raise UserError(f"{folder} holds a {named}, this run trains a {kind}: choose the same kind as the earlier run")
    earlier = type(part).from_pretrained(folder)
    load_strictly(part, earlier.state_dict(), str(folder))
    before, now = getattr(earlier, "config", {}), getattr(part, "config", {})
    for name in sorted(name for name in now if before.get(name) != now[name]):
        log.warning("%s was trained with %s=%s, now it is %s", folder, name, before.get(name), now[name])
