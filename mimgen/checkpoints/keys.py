"""Official names of tensors to ours and back: pairs of templates, read in both directions."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor

__all__ = ["KeyMap", "Reshape", "matches"]

_WILD = re.compile(r"[*#]")


class KeyMap:
    """A two-way map of names.

    A template is text in which `*` stands for anything and `#` for a number; both templates of a pair have the same
    signs in the same order. The first pair that fits a name decides; a name that fits none stays as it is. So put
    the special before the general, as seen from both sides.

    Args:
        pairs: (official template, ours), for example ("decoder_blocks.#.*", "decoder.blocks.#.*").
        also: pairs of other official spellings, which are read first and never written.

    Raises:
        ValueError: a pair whose sides have different signs.
    """

    def __init__(self, *pairs: tuple[str, str], also: tuple[tuple[str, str], ...] = ()) -> None:
        for official, ours in (*also, *pairs):
            if _WILD.findall(official) != _WILD.findall(ours):
                raise ValueError(f"{official} and {ours} have different signs")
        self._ours = [(_pattern(official), _filling(ours)) for official, ours in (*also, *pairs)]
        self._official = [(_pattern(ours), _filling(official)) for official, ours in pairs]

    def ours(self, key: str) -> str:
        """Our name of an official tensor."""
        return _translate(self._ours, key)

    def official(self, key: str) -> str:
        """The official name of a tensor of ours."""
        return _translate(self._official, key)


@dataclass(frozen=True)
class Reshape:
    """A tensor whose shape is another in the release.

    Attributes:
        key: template of our names.
        to_ours: official tensor -> ours.
        to_official: our tensor -> the official one.
        lost: why the way back cannot restore every number, where it cannot; empty where it can.
    """

    key: str
    to_ours: Callable[[Tensor], Tensor]
    to_official: Callable[[Tensor], Tensor]
    lost: str = ""


def matches(templates: Mapping[str, object] | tuple[str, ...], key: str) -> str | None:
    """The first of the templates that fits a name; None where none does."""
    return next((template for template in templates if _pattern(template).fullmatch(key)), None)


@functools.cache
def _pattern(template: str) -> re.Pattern[str]:
    text = re.escape(template).replace(r"\*", "(.+)").replace(r"\#", r"(\d+)")
    return re.compile(text)


def _filling(template: str) -> str:
    """The template as a format string."""
    return _WILD.sub("{}", template)


def _translate(pairs: list[tuple[re.Pattern[str], str]], key: str) -> str:
    for pattern, filling in pairs:
        if found := pattern.fullmatch(key):
            return filling.format(*found.groups())
    return key
