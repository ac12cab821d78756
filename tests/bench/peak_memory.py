"""Peak memory of one call, measured in a process of its own."""

from __future__ import annotations

import multiprocessing
import os
import resource
import sys
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

__all__ = ["Measured", "measured_in_child", "peak_in_child", "step_memory"]

Prepare = Callable[..., Callable[[], object]]


@dataclass(frozen=True)
class Measured:
    """A call in a process of its own.

    Attributes:
        peak: bytes by which resident memory rose at most.
        result: what the call returned.
    """

    peak: int
    result: object


def peak_in_child(prepare: Prepare, arguments: tuple[Any, ...]) -> int:
    """Bytes by which resident memory rises at most during `prepare(*arguments)()`.

    A fresh process, since freed memory that an older one keeps would mask what is taken.

    Args:
        prepare: a function that a fresh process can import (it travels by name); what it does itself is
            not counted.
        arguments: for it.

    Raises:
        RuntimeError: the process ended without a result (out of memory, most likely).
    """
    return _run_in_child(prepare, arguments, keep=False).peak


def measured_in_child(prepare: Prepare, arguments: tuple[Any, ...]) -> Measured:
    """The same, with what `prepare(*arguments)()` returned, which must be able to travel between processes."""
    return _run_in_child(prepare, arguments, keep=True)


def step_memory(device: str, prepare: Prepare, cold: Prepare, arguments: tuple[Any, ...]) -> int:
    """Bytes that one training step takes on top of what was there before it.

    Args:
        device: "cpu" or "cuda".
        prepare: as of `peak_in_child`, for the CPU.
        cold: cold(*arguments) makes a step that was never run, for a GPU.
        arguments: for both.
    """
    if device == "cpu":
        return peak_in_child(prepare, arguments)
    import torch

    step = cold(*arguments)
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    step()
    return torch.cuda.max_memory_allocated() - before


def _run_in_child(prepare: Prepare, arguments: tuple[Any, ...], keep: bool) -> Measured:
    # Started afresh and not as a copy, which would take the caller's memory along.
    context = multiprocessing.get_context("spawn")
    reader, writer = context.Pipe(duplex=False)
    child = context.Process(target=_measure, args=(writer, prepare, arguments, keep))
    child.start()
    writer.close()
    try:
        measured: Measured | None = reader.recv()
    except EOFError:
        measured = None
    child.join()
    if measured is None:
        raise RuntimeError(f"measuring the memory failed (exit status {child.exitcode})")
    return measured


def _measure(writer: Connection, prepare: Prepare, arguments: tuple[Any, ...], keep: bool) -> None:
    run = prepare(*arguments)
    before = _restart_peak()
    result = run()
    writer.send(Measured(_peak() - before, result if keep else None))


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
