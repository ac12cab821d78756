"""Which of a launch's processes this one is; needs no torch, so the command line may ask."""

from __future__ import annotations

import os


def is_main_process() -> bool:
    """Whether this is the process of a launch that writes and speaks."""
    return os.environ.get("RANK", "0") == "0"
