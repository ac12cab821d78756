"""Hi-End-MAE's decoder: all tokens query the encoder's layers, from deep to shallow (arXiv 2502.08347)."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor, nn

from mimgen.errors import UserError
from mimgen.layers.attention import attend
from mimgen.layers.blocks.vit import Mlp, SelfAttention, VitBlock
from mimgen.layers.init import init_weights
from mimgen.methods.hiendmae.encoder import VolumeTokens, position_table
from mimgen.pretrained import PretrainedModule
from mimgen.types import Mask


class MemoryAttention(nn.Module):
    """Attention of queries to a memory; its keys and values come from one projection, as in the release.

    Args:
        width: D of queries and memory, a multiple of `heads`.
        heads: attention heads H.
        qkv_bias: whether the projections of queries, keys and values have biases.
    """

    def __init__(self, width: int, heads: int, qkv_bias: bool = True) -> None:
        super().__init__()
        self.heads = heads
        self.q, self.kv = nn.Linear(width, width, bias=qkv_bias), nn.Linear(width, 2 * width, bias=qkv_bias)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor, memory: Tensor) -> Tensor:
        """Queries [B, T, D] and memory [B, S, D] to [B, T, D]."""
        q = self.q(x).unflatten(-1, (self.heads, -1))
        k, v = self.kv(memory).unflatten(-1, (2, self.heads, -1)).unbind(2)
        return self.proj(attend(q, k, v).flatten(2))


class MemoryBlock(nn.Module):
    """Self-attention, attention to a memory, MLP; each with norm and residual, the memory is not normalised.

    Args:
        width: D.
        heads: attention heads H.
        mlp_ratio: hidden width of the MLP over D.
        qkv_bias: whether projections of queries, keys and values have biases.
        eps: of the layer norms.
    """

    def __init__(
        self, width: int, heads: int, *, mlp_ratio: float = 4.0, qkv_bias: bool = True, eps: float = 1e-6
    ) -> None:
        super().__init__()
        self.norm0, self.self_attn = nn.LayerNorm(width, eps), SelfAttention(width, heads, qkv_bias)
        self.norm1, self.cross_attn = nn.LayerNorm(width, eps), MemoryAttention(width, heads, qkv_bias)
        self.norm2, self.mlp = nn.LayerNorm(width, eps), Mlp(width, int(mlp_ratio * width))

    def forward(self, x: Tensor, memory: Tensor) -> Tensor:
        """[B, T, D] and memory [B, S, D] to [B, T, D]."""
        x = x + self.self_attn(self.norm0(x))
        x = x + self.cross_attn(self.norm1(x), memory)
        return x + self.mlp(self.norm2(x))


class HierarchicalDecoder(PretrainedModule):
    """Plain blocks on visible and mask tokens, then a block for each tap, which reads that layer of the encoder.

    Args:
        cells: cells along each side of the volumes.
        encoder_width: width of the encoder's tokens.
        output: numbers predicted for each cell.
        taps: layers of the encoder, from 0, in the order in which they are read; deep to shallow in the paper. A
            tap equal to another is allowed (the paper's control reads the last one only).
        width: D of the decoder.
        depth: plain blocks.
        heads: attention heads.
        mlp_ratio: hidden width of the MLPs over D.
        qkv_bias: whether projections of queries, keys and values have biases.
        positions: "fixed" sines and cosines, or "learned".
        eps: of the layer norms.

    Raises:
        UserError: a width that does not divide, or no taps.
    """

    def __init__(
        self,
        cells: tuple[int, ...] = (8, 8, 8),
        encoder_width: int = 768,
        output: int = 1728,
        taps: tuple[int, ...] = (9, 6, 3),
        width: int = 384,
        depth: int = 2,
        heads: int = 12,
        mlp_ratio: float = 4.0,
        qkv_bias: bool = True,
        positions: str = "fixed",
        eps: float = 1e-6,
    ) -> None:
        super().__init__()
        if not taps:
            raise UserError("a hierarchical decoder reads layers of the encoder: give taps, such as (9, 6, 3)")
        self.dim, self.taps, self.cells = output, tuple(taps), tuple(cells)
        self.embed = nn.Linear(encoder_width, width)
        self.memories = nn.ModuleList(nn.Linear(encoder_width, width) for _ in taps)
        self.mask_token = nn.Parameter(torch.empty(1, 1, width))
        self.pos_embed = position_table(width, cells, positions)
        options = {"mlp_ratio": mlp_ratio, "qkv_bias": qkv_bias, "eps": eps}
        self.blocks = nn.ModuleList(VitBlock(width, heads, **options) for _ in range(depth))  # type: ignore[arg-type]
        self.cross_blocks = nn.ModuleList(MemoryBlock(width, heads, **options) for _ in taps)  # type: ignore[arg-type]
        self.norm, self.head = nn.LayerNorm(width, eps), nn.Linear(width, output)
        init_weights(self)

    def forward(self, tokens: VolumeTokens, mask: Mask) -> Tensor:
        """Predictions [B, N, output] for every cell.

        Args:
            tokens: of the visible cells, ascending, with the memories of `taps` in their order.
            mask: of all N cells.

        Raises:
            UserError: tokens of other cells than the mask leaves, or not one memory for each tap.
        """
        return self.everything(tokens, mask)[:, 1:]

    def everything(self, tokens: VolumeTokens, mask: Mask) -> Tensor:
        """The same with what is said at the class token in front, [B, 1 + N, output]."""
        self._check(tokens, mask)
        x = self.embed(torch.cat([tokens.prefix, tokens.patches], dim=1))
        mask_tokens = self.mask_token.to(x.dtype).expand(len(x), mask.drop.shape[1], -1)
        restore = mask.restore.to(x.device)[..., None].expand(-1, -1, x.shape[-1])
        cells = torch.cat([x[:, 1:], mask_tokens], dim=1).gather(1, restore) + self.pos_embed
        x = torch.cat([x[:, :1], cells], dim=1)
        for block in self.blocks:
            x = block(x)
        for block, memory in zip(self.cross_blocks, self._memories(tokens.memories), strict=True):
            x = block(x, memory)
        return self.head(self.norm(x))

    def _memories(self, memories: Sequence[Tensor]) -> list[Tensor]:
        return [embed(memory) for embed, memory in zip(self.memories, memories, strict=True)]

    def _check(self, tokens: VolumeTokens, mask: Mask) -> None:
        visible = mask.keep.shape[1]
        if tokens.patches.shape[1] != visible or mask.masked.shape[1] != prod(self.cells):
            raise UserError(
                f"this decoder has {prod(self.cells)} cells, the mask has {mask.masked.shape[1]} and leaves {visible}, "
                f"and {tokens.patches.shape[1]} tokens came: build encoder and decoder for the same volumes"
            )
        if len(tokens.memories) != len(self.taps):
            raise UserError(f"this decoder reads the layers {self.taps}: call the encoder with layers=decoder.taps")
