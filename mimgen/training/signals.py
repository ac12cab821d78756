"""Stop requests: a signal or the time limit sets a flag, and the loop stops after its step."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Stop:
    """Whether the run was asked to end.

    Args:
        time_limit: seconds from now, or None.
    """

    def __init__(self, time_limit: float | None) -> None:
        self.signalled = False
        self._end = None if time_limit is None else time.monotonic() + time_limit

    def requested(self) -> bool:
        """True after a signal or once the time is up."""
        return self.signalled or (self._end is not None and time.monotonic() >= self._end)


@contextmanager
def stop_signals(stop: Stop) -> Iterator[None]:
    """Turn SIGTERM and SIGINT into `stop.signalled`; a second SIGINT interrupts at once.

    Outside the main thread signals cannot be caught, so there they keep their meaning.
    """

    def note(number: int, frame: FrameType | None) -> None:
        if stop.signalled and number == signal.SIGINT:
            raise KeyboardInterrupt
        stop.signalled = True

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, note) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
