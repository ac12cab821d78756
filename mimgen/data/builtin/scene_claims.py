"""What a caption of the scene set claims: objects, their number, colours, shapes and where they lie."""

from __future__ import annotations

import re
from dataclasses import dataclass

from mimgen.data.builtin.scene_images import COLOURS, SHAPES
from mimgen.errors import UserError

__all__ = ["CATEGORIES", "RELATIONS", "Claim", "Part", "read_caption"]

# the six kinds of prompt of GenEval (Ghosh et al. 2023, arXiv 2310.11513, table 1)
CATEGORIES = ("single object", "colour", "count", "two objects", "binding", "position")
RELATIONS = ("left of", "right of", "above", "below")
NUMBERS = ("a", "two", "three", "four")

_PART = rf"({'|'.join(NUMBERS)}) (?:({'|'.join(COLOURS)}) )?({'|'.join(SHAPES)})(e?s)?"
_CAPTION = re.compile(rf"{_PART}(?: (and|{'|'.join(RELATIONS)}) {_PART})?")


@dataclass(frozen=True)
class Part:
    """`count` objects of one shape and, unless it is None, one colour."""

    shape: str
    colour: str | None = None
    count: int = 1

    def __str__(self) -> str:
        noun = self.shape if self.count == 1 else _plural(self.shape)
        return " ".join(filter(None, (NUMBERS[self.count - 1], self.colour, noun)))


@dataclass(frozen=True)
class Claim:
    """What an image must show: exactly these objects, and nothing else.

    Attributes:
        parts: one part, or two of one object each.
        relation: where the first object lies as seen from the second; None where nothing is said.
    """

    parts: tuple[Part, ...]
    relation: str | None = None

    @property
    def caption(self) -> str:
        """For example "a red circle left of a blue square"."""
        return f" {self.relation or 'and'} ".join(str(part) for part in self.parts)

    @property
    def category(self) -> str:
        """One of `CATEGORIES`."""
        first = self.parts[0]
        if len(self.parts) == 1:
            return "count" if first.count > 1 else "colour" if first.colour else "single object"
        return "position" if self.relation else "binding" if first.colour else "two objects"


def read_caption(caption: str) -> Claim:
    """The claim that a caption makes; the inverse of `Claim.caption`, whatever the case and final stop.

    Raises:
        UserError: not a caption of the scene set; the message gives its form.
    """
    found = _CAPTION.fullmatch(" ".join(caption.casefold().strip().removesuffix(".").split()))
    if found is None:
        raise UserError(
            f"caption {caption!r} is not one of the scene set, such as 'three red circles' or 'a red circle left of "
            f"a blue square' (colours: {', '.join(COLOURS)}; shapes: {', '.join(SHAPES)}; {', '.join(RELATIONS)})"
        )
    words = found.groups()
    parts = [_part(*words[:4])] + ([_part(*words[5:])] if words[4] else [])
    claim = Claim(tuple(parts), words[4] if words[4] in RELATIONS else None)
    if claim.caption != found.group():  # "a circles", "two circle"
        raise UserError(
            f"caption {caption!r}: the number does not fit its noun; did you mean {claim.caption!r}?"
        )
    if len(parts) == 2 and any(part.count > 1 for part in parts):
        raise UserError(f"caption {caption!r}: two parts are of one object each in the scene set")
    return claim


def _part(number: str, colour: str | None, shape: str, _ending: str | None) -> Part:
    return Part(shape, colour, NUMBERS.index(number) + 1)


def _plural(shape: str) -> str:
    return f"{shape}es" if shape.endswith("s") else f"{shape}s"
