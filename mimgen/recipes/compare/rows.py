"""What studies share: rows that are made once, each in a process of its own."""

from __future__ import annotations

import json
import multiprocessing
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mimgen.errors import UserError

__all__ = ["made_once", "numbers"]

INTERRUPTED = 130

Row = dict[str, Any]


def numbers(text: str, flag: str) -> list[int]:
    """ "0,1,2" as numbers.

    Raises:
        UserError: anything else, or nothing.
    """
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts or not all(part.isdecimal() for part in parts):
        raise UserError(f"--{flag} {text!r}: give whole numbers with commas between, for example 0,1,2")
    return list(dict.fromkeys(map(int, parts)))


def made_once(path: Path, work: Callable[..., Row], *arguments: Any) -> Row:
    """The row in the JSON file `path`; where it is missing, work(*arguments) makes it in a new process.

    A process of its own frees all memory at its end and gives no row the caches of another. A row
    that fails is returned as {"failed": message} and not kept, so that a rerun tries it again.

    Args:
        path: the row's file.
        work: a function of a module (it is found by name in the new process).
        arguments: what pickles.

    Raises:
        KeyboardInterrupt: the process was interrupted.
    """
    if path.is_file():
        row: Row = json.loads(path.read_text(encoding="utf-8"))
        return row
    process = multiprocessing.get_context("spawn").Process(target=_work, args=(path, work, arguments))
    process.start()
    try:
        process.join()
    except KeyboardInterrupt:
        process.join()  # it has heard the same signal and is saving
        raise
    if process.exitcode in (INTERRUPTED, -signal.SIGINT):
        raise KeyboardInterrupt
    if path.is_file():
        return made_once(path, work, *arguments)
    error = _error(path)
    reason = error.read_text(encoding="utf-8").strip() if error.is_file() else f"exit status {process.exitcode}"
    return {"failed": reason}


def _work(path: Path, work: Callable[..., Row], arguments: tuple[Any, ...]) -> None:
    """Make a row and write it with its provenance, or write why not. Runs in the new process."""
    _error(path).unlink(missing_ok=True)
    try:
        row = work(*arguments)

        from mimgen.evaluation import provenance, write_result

        write_result(path, {**row, "made_by": provenance()})
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except Exception as error:
        # One system that fails must not cost the rows of the others.
        if not isinstance(error, UserError):
            traceback.print_exc()
        _error(path).parent.mkdir(parents=True, exist_ok=True)
        _error(path).write_text(f"{type(error).__name__}: {error}\n", encoding="utf-8")
        sys.exit(1)


def _error(path: Path) -> Path:
    return path.with_suffix(".error.txt")
