"""Sizes of a network that its official tensors tell."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

__all__ = ["grid_side", "heads_of", "numbered"]

HEAD = 64  # channels of an attention head in nearly every released transformer


def numbered(names: Iterable[str], prefix: str) -> int:
    """How many modules are numbered right behind `prefix`: one more than the largest number, 0 without any."""
    pattern = re.compile(re.escape(prefix) + r"(\d+)\b")
    return 1 + max((int(found[1]) for name in names if (found := pattern.match(name))), default=-1)


def heads_of(width: int, official: Any = None, released: Mapping[int, int] | None = None, head: int = HEAD) -> int:
    """Attention heads, which leave no trace in the tensors.

    Args:
        width: channels.
        official: what the official configuration says, if anything; it goes first.
        released: heads of the released sizes by width.
        head: channels of a head at other widths.
    """
    return int(official or (released or {}).get(width) or max(1, width // head))


def grid_side(positions: int, axes: int = 2) -> int:
    """Patches per side of a square (or cubic) grid of `positions`."""
    return round(positions ** (1 / axes))
