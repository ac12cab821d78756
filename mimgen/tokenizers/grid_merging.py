"""MergeVQ without merging: as many tokens, but of the cells of a coarse grid. The baseline of studies."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from mimgen.errors import UserError
from mimgen.layers.blocks.vit import VitBlock
from mimgen.layers.merging import Merged
from mimgen.tokenizers.mergevq.encoder import MergingBlocks
from mimgen.tokenizers.mergevq.model import MergeVQ

__all__ = ["GridBlocks", "on_a_grid", "raster"]


def raster(keep: int, tokens: int) -> Tensor:
    """[tokens] int64: the cell of a square grid of `keep` cells that each position of a square grid lies in.

    Raises:
        UserError: not squares, or more cells than positions.
    """
    cells, side = math.isqrt(keep), math.isqrt(tokens)
    if cells**2 != keep or side**2 != tokens or not 0 < cells <= side:
        raise UserError(f"a grid of {keep} cells over {tokens} positions: both must be squares, the first the smaller")
    line = torch.arange(side) * cells // side
    return (line[:, None] * cells + line).flatten()  # [tokens]


class GridBlocks(nn.Module):
    """The blocks of MergeVQ's encoder with averages over grid cells at their end instead of merging.

    Sees all tokens in every block, so it spends more computation than merging does.

    Args:
        blocks: whose parameters are used; the state dict stays as it is.
    """

    def __init__(self, blocks: MergingBlocks) -> None:
        super().__init__()
        self.cls_token, self.blocks = blocks.cls_token, blocks.blocks

    def start(self, patches: Tensor) -> tuple[Tensor, Merged]:
        """Patches [B, N, D] to tokens [B, 1 + N, D] with nothing merged yet."""
        x = torch.cat([self.cls_token.expand(len(patches), -1, -1), patches], dim=1)
        return x, Merged.start(x)

    def forward(
        self, x: Tensor, merged: Merged, merge_schedule: Sequence[int], layers: Sequence[int] = ()
    ) -> tuple[Tensor, Merged, tuple[tuple[Tensor, Merged], ...]]:
        """As `MergingBlocks`: x [B, 1 + N, D] to [B, 1 + K, D], K = N - sum of `merge_schedule`, a square."""
        states = {}
        for index, block in enumerate(cast(Iterable[VitBlock], self.blocks)):
            x, merged = block.merge_forward(x, merged, 0)
            if index in layers:
                states[index] = (x, merged)
        tokens = x.shape[1] - 1
        keep = tokens - sum(merge_schedule)
        if keep < tokens:
            cells = raster(keep, tokens).to(x.device)
            sizes = cells.bincount(minlength=keep).to(x.dtype)[:, None]
            means = x.new_zeros(len(x), keep, x.shape[2]).index_add(1, cells, x[:, 1:]) / sizes  # [B, K, D]
            x = torch.cat([x[:, :1], means], dim=1)  # [B, 1 + K, D]
            group = torch.cat([cells.new_zeros(1), 1 + cells]).expand(len(x), -1)
            merged = Merged(torch.cat([sizes.new_ones(1, 1), sizes]).expand(len(x), -1, -1), group)
        return x, merged, tuple(states[layer] for layer in layers)


def on_a_grid(tokenizer: MergeVQ) -> MergeVQ:
    """The same tokenizer, changed in place: kept tokens are means over the cells of a coarse grid.

    A folder saved from it is one of MergeVQ: apply this again after loading.
    """
    if isinstance(tokenizer.encoder.attn, MergingBlocks):
        tokenizer.encoder.attn = GridBlocks(tokenizer.encoder.attn)  # type: ignore[assignment]
    return tokenizer
