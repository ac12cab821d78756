"""The run folder of a command: what was asked, with which versions, and what came of it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mimgen.errors import UserError
from mimgen.ops.launch import first_process

__all__ = ["begin", "finish", "writable"]


def begin(out: Path, arguments: Sequence[str], config: str | None = None) -> None:
    """Make the folder and write command.json and config.py; only the first process of a launch writes.

    Raises:
        UserError: the folder cannot be written.
    """
    if not first_process():
        return
    from mimgen.evaluation.results import provenance, write_result

    writable(out)
    write_result(out / "command.json", provenance(command=shlex.join(["mimgen", *arguments])))
    if config is not None:
        (out / "config.py").write_text(config, encoding="utf-8")


def finish(out: Path, result: Mapping[str, Any]) -> None:
    """Write result.json."""
    if first_process():
        from mimgen.evaluation.results import provenance, write_result

        write_result(out / "result.json", {**result, "made_by": provenance()})


def writable(out: Path) -> None:
    """Make the folder `out`.

    Raises:
        UserError: a file is in the way, or the place is not ours to write to.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = error.strerror or str(error)
        raise UserError(f"cannot write to {out} ({reason}); choose another --out") from None

