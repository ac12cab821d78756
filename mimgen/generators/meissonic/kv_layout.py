"""Which slot of a cache of keys and values stands for which cell of the canvas; the same in every block."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from mimgen.layers.kv_cache import Slots
from mimgen.layers.merging import Matching
from mimgen.ops.positions import gather_tokens, padded_nonzero


class Layout:
    """Slots of `first` entries that never change (text) and of n cells behind them.

    Args:
        slot: [B, n] int64 slot that stands for each cell; -1 where none does.
        alone: [B, n] boolean, whether it stands for this cell only.
        weight: [B, S] float32 number of cells behind each slot, or None where every slot stands for one entry.
    """

    def __init__(self, slot: Tensor, alone: Tensor, weight: Tensor | None) -> None:
        self.slot, self.alone, self.weight = slot, alone, weight

    @classmethod
    def full(cls, rows: int, first: int, cells: int, device: torch.device) -> Layout:
        """A slot for every cell."""
        slot = first + torch.arange(cells, device=device).expand(rows, -1)
        return cls(slot, torch.ones_like(slot, dtype=torch.bool), None)

    @classmethod
    def compressed(cls, alike: Tensor, first: int, keep: float, keys: Tensor | None) -> tuple[Layout, Matching]:
        """Keep `keep` of the entries of cells that are alike, evenly over the grid, and all entries of the others.

        Args:
            alike: [B, n] boolean, cells whose entries may go (those still masked).
            first: slots in front of those of the cells.
            keep: share in (0, 1]; of any such cells at least one is kept.
            keys: [B, first + n, E] by whose cosine the other entries choose the kept one that they merge into; None
                drops them.

        Returns:
            The layout, and the matching of first + n slots and an empty one behind them, which pads (see
            `KeyValues.compress`). It is one for `merge` alone: with `keys` None it names the dropped slots nowhere.
        """
        count = first + alike.shape[1]
        # the tiny number keeps a share such as 1/3 from being rounded up
        rank = (alike.cumsum(1) * keep - 1e-4).ceil()
        anchors = alike & (rank > F.pad(rank[:, :-1], (1, 0)))
        stays = F.pad(~alike | anchors, (first, 0), value=True)
        kept, valid = padded_nonzero(stays)
        slot = (stays.cumsum(1) - 1).masked_fill(~stays, -1)
        weight = valid.float()
        moved = into = kept[:, :0]
        if keys is not None:
            moved, into, real = _nearest(keys, F.pad(alike & ~anchors, (first, 0)), F.pad(anchors, (first, 0)), slot)
            weight = weight.scatter_add(1, into, real.float())
            slot = torch.where(stays, slot, F.pad(slot, (0, 1)).scatter(1, moved, into)[:, :-1])
        matching = Matching(kept.masked_fill(~valid, count), moved, into)
        alone = stays & (weight.gather(1, slot.clamp(min=0)) == 1)
        return cls(slot[:, first:], alone[:, first:], weight), matching

    def slot_of(self, cells: Tensor, valid: Tensor) -> Slots:
        """Slots for the entries of cells that are computed anew; each cell has one of its own from now on.

        Args:
            cells: [B, m] int64, none twice in a row of the batch.
            valid: [B, m] boolean, false where padded.
        """
        slot = self.slot.gather(1, cells)
        if self.weight is None:
            return Slots(slot, valid)
        moves = valid & ~self.alone.gather(1, cells)
        added, length = int(moves.sum(1).max()), self.weight.shape[1]
        write = torch.where(moves, length + moves.cumsum(1) - 1, slot.clamp(min=0))
        # the slot that stood for the cell until now stands for one cell less
        left = (moves & (slot >= 0)).to(self.weight.dtype)
        weight = F.pad(self.weight.scatter_add(1, slot.clamp(min=0), -left), (0, added))
        self.weight = weight.scatter_add(1, write, moves.to(weight.dtype))
        self.slot = self.slot.scatter(1, cells, torch.where(moves, write, slot))
        self.alone = self.alone.scatter(1, cells, self.alone.gather(1, cells) | moves)
        return Slots(write, valid, added, self.weight.clamp(min=0).log()[:, None, None])


def _nearest(keys: Tensor, movers: Tensor, anchors: Tensor, slot: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Each mover [B, S] goes into its most similar anchor: who [B, R], slots [B, R], which are no padding [B, R].

    Padding moves the empty entry, slot S, into slot 0, which leaves that as it is.
    """
    (moved, real), (near, valid) = padded_nonzero(movers), padded_nonzero(anchors)
    if not moved.shape[1]:
        return moved, moved, real
    keys = F.normalize(keys.float(), dim=-1)
    scores = gather_tokens(keys, moved) @ gather_tokens(keys, near).transpose(1, 2)  # [B, R, anchors]
    best = scores.masked_fill(~valid[:, None], float("-inf")).argmax(-1)
    into = slot.gather(1, near.gather(1, best))  # [B, R]
    return moved.masked_fill(~real, keys.shape[1]), into.masked_fill(~real, 0), real
