"""Keys and values that a transformer without causal order keeps from step to step.

Every cell of the canvas may change, so a cache of a masked generator is not a growing list: the entries of the
cells that are computed anew replace the old ones, and all others are read as they were. After a pass over
everything the entries can be compressed: left out, or merged into similar ones, each then weighing as much in
the softmax as the cells behind it (proportional attention of ToMe, arXiv 2210.09461, section 3).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from mimgen.layers.attention import attend
from mimgen.layers.merging import Matching, merge


@dataclass(frozen=True)
class Slots:
    """Where the entries of one partial pass go; the same in every block.

    Attributes:
        write: [B, m] int64 slots.
        valid: [B, m] boolean; padding keeps what its slot holds.
        added: number of slots that this pass adds at the end.
        bias: [B, 1, 1, S] added to the attention logits, log of the number of cells behind each entry; None where
            every entry stands for one.
    """

    write: Tensor
    valid: Tensor
    added: int = 0
    bias: Tensor | None = None


class KeyValues:
    """Keys and values [B, S, H, D] of one block; empty at first."""

    def __init__(self) -> None:
        self.keys: Tensor | None = None
        self.values: Tensor | None = None

    def fill(self, keys: Tensor, values: Tensor) -> None:
        """Keep the entries [B, S, H, D] of a pass over everything."""
        self.keys, self.values = keys, values

    def head(self, rows: int) -> None:
        """Keep the first rows of the batch only."""
        # copied: a view would hold the memory of the others, too
        self._change(lambda x: x[:rows].clone())

    def compress(self, matching: Matching) -> None:
        """Average the entries along a matching of their S slots and, as slot S, an empty one that pads.

        What the matching neither keeps nor moves is lost.
        """

        def merged(x: Tensor) -> Tensor:
            flat = F.pad(x.flatten(2), (0, 0, 0, 1))  # [B, S + 1, H D], the last slot empty
            sizes = F.pad(flat.new_ones(*flat.shape[:2], 1)[:, 1:], (0, 0, 0, 1))  # [B, S + 1, 1], 0 for the empty slot
            return merge(flat, matching, sizes)[0].unflatten(2, x.shape[2:])

        self._change(merged)

    def attend(self, q: Tensor, k: Tensor, v: Tensor, slots: Slots) -> Tensor:
        """Write the entries k, v [B, m, H, D] of some cells and let their queries q read everything.

        Returns:
            [B, m, H, D].
        """
        keys, values = self._full()
        self.keys, self.values = _written(keys, k, slots), _written(values, v, slots)
        return attend(q, self.keys, self.values, bias=slots.bias)

    @property
    def bytes(self) -> int:
        """Memory of the entries."""
        kept = (self.keys, self.values)
        return sum(x.numel() * x.element_size() for x in kept if x is not None)

    def _full(self) -> tuple[Tensor, Tensor]:
        if self.keys is None or self.values is None:
            raise ValueError("the cache is empty: make a pass over everything first")
        return self.keys, self.values

    def _change(self, how: Callable[[Tensor], Tensor]) -> None:
        keys, values = self._full()
        self.keys, self.values = how(keys), how(values)


def _written(x: Tensor, new: Tensor, slots: Slots) -> Tensor:
    """x [B, S, H, D], changed in place where no slots are added, with rows `new` [B, m, H, D] at the slots."""
    if slots.added:
        x = torch.cat([x, x.new_zeros(len(x), slots.added, *x.shape[2:])], dim=1)
    flat = x.view(-1, *x.shape[2:])  # [B S, H, D]
    where = slots.write + x.shape[1] * torch.arange(len(x), device=x.device)[:, None]
    old = flat[where]
    flat[where] = torch.where(slots.valid[..., None, None], new, old)
    return x
