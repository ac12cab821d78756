"""The run folder of a command: what was asked, with which versions, and what came of it."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mimgen.errors import UserError
from mimgen.ops.launch import is_main_process

__all__ = ["check_same_settings", "prepare_folder", "read_command", "run_folder", "save_result", "writable"]

WRITTEN = ("command.json", "config.py")  # by `prepare_folder`


def prepare_folder(out: Path, arguments: Sequence[str], config: str | None = None) -> None:
    """Make the folder and write command.json and config.py; only the first process of a launch writes.

    Raises:
        UserError: the folder cannot be written.
    """
    if not is_main_process():
        return
    from mimgen.evaluation.results import provenance, write_result

    writable(out)
    write_result(out / "command.json", provenance(command=shlex.join(["mimgen", *arguments])))
    if config is not None:
        (out / "config.py").write_text(config, encoding="utf-8")


@contextmanager
def run_folder(out: Path, arguments: Sequence[str], config: str | None = None) -> Iterator[None]:
    """`prepare_folder`, taken back where the block refuses to start: a refused command leaves no trace of itself.

    The loop writes settings.json when it has accepted a run.
    """
    before = {name: (out / name).read_bytes() for name in WRITTEN if (out / name).is_file()}
    of_another = (out / "settings.json").is_file()
    prepare_folder(out, arguments, config)
    try:
        yield
    except UserError:
        if is_main_process() and (of_another or not (out / "settings.json").is_file()):
            _restore(out, before)
        raise


def _restore(out: Path, before: Mapping[str, bytes]) -> None:
    for name in WRITTEN:
        if name in before:
            (out / name).write_bytes(before[name])
        else:
            (out / name).unlink(missing_ok=True)
    if not any(out.iterdir()):
        out.rmdir()


def save_result(out: Path, result: Mapping[str, Any]) -> None:
    """Write result.json."""
    if is_main_process():
        from mimgen.evaluation.results import provenance, write_result

        write_result(out / "result.json", {**result, "made_by": provenance()})


def read_command(out: Path) -> list[str]:
    """The words of the command whose run folder `out` is, from "mimgen" on; none where it is no run folder."""
    path = out / "command.json"
    return shlex.split(json.loads(path.read_text("utf-8")).get("command", "")) if path.is_file() else []


def check_same_settings(out: Path, requested: Mapping[str, Any], what: str) -> None:
    """Keep what was asked in `out`/`what`.json, so that a rerun cannot mix the outcomes of two.

    Args:
        out: the folder; it is made.
        requested: the options that decide the outcome.
        what: "comparison" or "quickstart".

    Raises:
        UserError: the folder holds one that was asked otherwise.
    """
    from mimgen.evaluation import write_result

    path = out / f"{what}.json"
    writable(out)
    if not path.is_file():
        write_result(path, requested)
        return
    before = json.loads(path.read_text(encoding="utf-8"))
    if before != json.loads(json.dumps(requested)):
        words = ", ".join(f"{key} {value}" for key, value in before.items())
        raise UserError(f"{out} holds a {what} with {words}; continue with these, or choose another --out")


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

