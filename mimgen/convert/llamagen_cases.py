"""Replays of LlamaGen's tokenizer."""

from __future__ import annotations

from mimgen.convert.cases import Replay

REPLAYS: dict[str, Replay] = {}
