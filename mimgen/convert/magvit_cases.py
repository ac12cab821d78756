"""Replays of Open-MAGVIT2's convolutional halves."""

from __future__ import annotations

from mimgen.convert.cases import Replay

REPLAYS: dict[str, Replay] = {}
