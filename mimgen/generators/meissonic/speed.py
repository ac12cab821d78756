"""What the sampling of a text-conditional generator saves, each saving a switch of its own.

The first four are exact but for rounding: the same arithmetic in other shapes, so that a token changes only where two
scores lie within a rounding error of each other. A feature cache and a difference of guidance that is used again
change tokens, and save the most.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from mimgen.errors import UserError

Compress = Literal["drop", "merge"]


@dataclass(frozen=True)
class FeatureCache:
    """Cells of the canvas whose tokens stay are computed in every few steps only.

    A full step computes all cells and keeps the keys and values of every block. The steps in between compute the
    active cells alone, which are those whose tokens were generated since and those whose tokens are asked for; they
    read the kept entries of all others. With an order that is known beforehand (Halton) a step asks for the few
    tokens that it reveals; by confidence it asks for all that are masked, so that little is saved before the end.

    Attributes:
        every: steps from one full step to the next; 1 computes everything in each.
        compress: entries of cells that are still masked resemble each other: "drop" keeps a part of them after
            a full step, "merge" merges the others into the kept ones that they resemble most.
        keep: share of these entries that is kept, in (0, 1].
        first: number of steps at the beginning that are all full; the canvas changes most there.
    """

    every: int = 4
    compress: Compress | None = None
    keep: float = 0.5
    first: int = 1

    def __post_init__(self) -> None:
        if self.every < 1 or self.first < 1:
            raise UserError(f"feature cache of every={self.every}, first={self.first}: give at least 1 step each")
        if self.compress is not None and self.compress not in get_args(Compress):
            raise UserError(f'compress {self.compress!r}: use "drop", "merge" or None')
        if not 0 < self.keep <= 1:
            raise UserError(f"keep={self.keep} of the cache's entries: give a share in (0, 1]")


@dataclass(frozen=True)
class Speed:
    """The savings that are used.

    Attributes:
        text_once: text states, the constant part of the conditioning vector and the rotary tables are computed
            once per image instead of in every step. Exact but for rounding.
        guide_features: guidance mixes what the head's last layer reads instead of the logits, so that this layer
            runs once and not twice. Exact but for rounding, because it is linear.
        last_block: queries, MLP and output of the last single block, and all behind it, only for the cells whose
            tokens are asked for. Exact but for rounding.
        compile: blocks through torch.compile; the first image waits for the compiler. Exact but for rounding. The
            steps between the full ones of a feature cache have other lengths each and stay as they are.
        cache: cells that stay are not computed in every step. Not exact.
        guidance_every: the unconditional branch is computed every so many steps; in between its last
            difference from the conditional one is used again. Not exact above 1.
    """

    text_once: bool = True
    guide_features: bool = True
    last_block: bool = True
    compile: bool = False
    cache: FeatureCache | None = None
    guidance_every: int = 1

    def __post_init__(self) -> None:
        if self.guidance_every < 1:
            raise UserError(f"guidance_every={self.guidance_every}: give at least 1 step")

    @property
    def exact(self) -> bool:
        """Whether the tokens come out as without any saving, but for rounding."""
        return (self.cache is None or self.cache.every == 1) and self.guidance_every == 1

    @classmethod
    def read(cls, config: Mapping[str, Any]) -> Speed:
        """From JSON: the fields that `config` has."""
        known = {name: config[name] for name in cls.__dataclass_fields__ if name in config}
        if isinstance(cache := known.get("cache"), Mapping):
            fields = FeatureCache.__dataclass_fields__
            known["cache"] = FeatureCache(**{name: cache[name] for name in fields if name in cache})
        return cls(**known)


EXACT = Speed()
PLAIN = Speed(text_once=False, guide_features=False, last_block=False)
