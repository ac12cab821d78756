"""Settings of token merging (ToMe) in an encoder."""

from __future__ import annotations

from dataclasses import dataclass

from mimgen.errors import UserError
from mimgen.layers.merge_schedule import (
    MergeSchedule,
    check_merge_count,
    merge_schedule,
    merge_schedule_to_keep,
    possible,
)

# Measured on one CPU core, halving the tokens: below it a ViT of width 384 is slower with merging than
# without (at 9 patches by 5 %, at 16 quicker by 7 %, at 196 by 30 %). Narrow networks need more: 36 at width 64.
MIN_TOKENS = 16


@dataclass(frozen=True)
class Merging:
    """Which tokens merge; give one of `remove` and `keep`.

    Attributes:
        remove: tokens to remove: a number for every layer, a number per layer, or (mean, inflection).
        keep: patch tokens to be left after the last layer: a count, or a float ratio in (0, 1].
        inflection: with `keep`: -1 removes early, 1 removes late, 0 evenly.
        proportional: whether a token weighs by its size in the attention. True for supervised
            networks, False for MAE's and while training (ToMe, table 1 and section 4.3).
        strict: refuse what cannot be done or does not pay. False does what a layer can, silently, as the
            official code does.
    """

    remove: MergeSchedule | None = None
    keep: int | float | None = None
    inflection: float = 0.0
    proportional: bool = True
    strict: bool = True

    def __post_init__(self) -> None:
        if (self.remove is None) == (self.keep is None):
            raise UserError("merging needs one of remove=... and keep=..., not both")

    def merge_schedule(self, patches: int, layers: int, protected: int = 1) -> tuple[int, ...]:
        """Tokens to remove in each layer.

        Args:
            patches: N, patch tokens before the first layer.
            layers: number of blocks.
            protected: leading tokens that never merge.

        Raises:
            UserError: fewer patches than pay, more removed than a layer can, or a keep count out of range.
        """
        if self.strict and patches < MIN_TOKENS:
            raise UserError(
                f"merging {patches} tokens does not pay: finding pairs takes longer than it saves below {MIN_TOKENS}; "
                "use bigger images or smaller patches, or leave merging out"
            )
        if self.keep is not None:
            return merge_schedule_to_keep(
                self.keep, patches, layers, protected=protected, inflection=self.inflection
            )
        assert self.remove is not None
        counts = merge_schedule(layers, self.remove)
        if not self.strict:
            return possible(counts, patches + protected, protected)
        left = patches + protected
        for count in counts:
            check_merge_count(left, count, protected)
            left -= count
        return counts
