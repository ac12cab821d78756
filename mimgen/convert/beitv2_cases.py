"""Replays of BEiT v2's tokenizer (VQ-KD)."""

from __future__ import annotations

from mimgen.convert.cases import Replay

REPLAYS: dict[str, Replay] = {}
