"""One pass through the blocks of a text-conditional generator: over everything, or over some cells alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mimgen.generators.meissonic.blocks import Table
from mimgen.generators.meissonic.compiled import called
from mimgen.layers.kv_cache import KeyValues, Slots
from mimgen.ops.positions import gather_tokens


@dataclass(frozen=True)
class BlockRunner:
    """The blocks of a transformer.

    Attributes:
        joint: `JointBlock`s.
        single: `SingleBlock`s.
        compile: run whole passes through torch.compile.
    """

    joint: nn.ModuleList
    single: nn.ModuleList
    compile: bool = False

    def __len__(self) -> int:
        return len(self.joint) + len(self.single)

    def all_cells(
        self,
        x: Tensor,
        text: Tensor,
        condition: Tensor,
        table: Table,
        *,
        wanted: Tensor | None = None,
        stores: Sequence[KeyValues] | None = None,
    ) -> Tensor:
        """All cells.

        Args:
            x: [B, n, D] cells.
            text: [B, T, D].
            condition: [B, D].
            table: two [T + n, D / H].
            wanted: [B, m] cells whose output is wanted: the last single block computes no others. None for all.
            stores: keep the keys and values of each block.

        Returns:
            [B, n, D], or [B, m, D].
        """
        kept: Sequence[KeyValues | None] = stores or [None] * len(self)
        for block, store in zip(self.joint, kept):
            x, text = called(block, self.compile)(x, text, condition, table, store)
        length, last = text.shape[1], len(self.single) - 1
        x = torch.cat([text, x], dim=1)
        for index, (block, store) in enumerate(zip(self.single, kept[len(self.joint) :])):
            if index == last and wanted is not None:
                # as many cells as are asked for: another number in every step, not worth compiling
                return block(x, condition, table, store, length + wanted)
            x = called(block, self.compile)(x, condition, table, store)
        x = x[:, length:]
        return x if wanted is None else gather_tokens(x, wanted)

    def levels(
        self, x: Tensor, text: Tensor, condition: Tensor, table: Table, layers: tuple[int, ...]
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """All cells [B, n, D] behind the last block and behind each of `layers`, joint blocks counted first."""
        levels = {}
        for index, block in enumerate(self.joint):
            x, text = block(x, text, condition, table)
            if index in layers:
                levels[index] = x
        joined = torch.cat([text, x], dim=1)
        for index, block in enumerate(self.single, start=len(self.joint)):
            joined = block(joined, condition, table)
            if index in layers:
                levels[index] = joined[:, text.shape[1] :]
        return joined[:, text.shape[1] :], tuple(levels[index] for index in layers)

    def partial(
        self, x: Tensor, condition: Tensor, table: Table, stores: Sequence[KeyValues], slots: Slots
    ) -> Tensor:
        """Some cells alone, which read what `stores` keep of all others.

        Args:
            x: [B, m, D] the cells.
            condition: [B, D].
            table: two [B, m, D / H], of these cells.
            stores: keys and values of each block; those of the cells are replaced.
            slots: where these are.

        Returns:
            [B, m, D].
        """
        for block, store in zip((*self.joint, *self.single), stores):
            # never compiled: another number of cells in every step
            x = block.partial(x, condition, table, store, slots)
        return x
