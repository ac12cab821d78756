"""Peak memory of one call, measured in a process of its own."""

from __future__ import annotations

import multiprocessing
import os
import resource
import sys
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

__all__ = ["peak_in_child"]

Prepare = Callable[..., Callable[[], object]]


def peak_in_child(prepare: Prepare, arguments: tuple[Any, ...]) -> int:
    """Bytes by which resident memory rises at most during `prepare(*arguments)()`.

    A fresh process, since freed memory that an older one keeps would hide what is taken.

    Args:
        prepare: a function that a fresh process can import (it travels by name); what it does itself is
            not counted.
        arguments: for it.

    Raises:
        RuntimeError: the process ended without a result (out of memory, most likely).
    """
    # Started afresh and not as a copy, which would take the caller's memory along.
    context = multiprocessing.get_context("spawn")
    reader, writer = context.Pipe(duplex=False)
    child = context.Process(target=_measure, args=(writer, prepare, arguments))
    child.start()
    writer.close()
    try:
        peak: int | None = reader.recv()
    except EOFError:
        peak = None
    child.join()
    if peak is None:
        raise RuntimeError(f"measuring the memory failed (exit status {child.exitcode})")
    return peak


def _measure(writer: Connection, prepare: Prepare, arguments: tuple[Any, ...]) -> None:
    run = prepare(*arguments)
    before = _restart_peak()
    run()
    writer.send(_peak() - before)


def _restart_peak() -> int:
    """Forget the peak so far where the system can; the memory in use now, or else the peak so far."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return _peak()
    return pages * os.sysconf("SC_PAGE_SIZE")


def _peak() -> int:
    """Highest resident memory in bytes."""
    try:
        status = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        # Kilobytes everywhere but on macOS.
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))
