"""Transformer blocks of BEiT: biases on q and v only, layer scale, relative position bias.

Parameter names are those of the official BEiT v2 release (microsoft/unilm).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mimgen.layers.attention import attend
from mimgen.layers.blocks.vit import DropPath, Mlp


def relative_index(height: int, width: int) -> Tensor:
    """Row of the bias table for every pair of tokens, the class token first.

    Args:
        height: rows of the grid.
        width: columns of the grid.

    Returns:
        [1 + N, 1 + N] int64 in [0, (2 height - 1) (2 width - 1) + 3); the last three rows of a table
        are class to patch, patch to class and class to class.
    """
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    rows, columns = rows.flatten(), columns.flatten()
    down = rows[:, None] - rows[None] + height - 1  # [N, N] in 0..2 height - 2
    right = columns[:, None] - columns[None] + width - 1
    shifts = (2 * height - 1) * (2 * width - 1)
    index = torch.empty(1 + height * width, 1 + height * width, dtype=torch.int64)
    index[1:, 1:] = down * (2 * width - 1) + right
    index[0, :], index[:, 0], index[0, 0] = shifts, shifts + 1, shifts + 2  # the corner last: row and column cover it
    return index


class RelativePositionBias(nn.Module):
    """A learned number for each head and each displacement on the grid.

    Args:
        height: rows of the grid.
        width: columns of the grid.
        heads: number H of heads.
    """

    relative_position_index: Tensor

    def __init__(self, height: int, width: int, heads: int) -> None:
        super().__init__()
        rows = (2 * height - 1) * (2 * width - 1) + 3
        self.relative_position_bias_table = nn.Parameter(torch.zeros(rows, heads))
        self.register_buffer("relative_position_index", relative_index(height, width))

    def bias(self) -> Tensor:
        """[H, 1 + N, 1 + N], added to the attention logits."""
        return self.relative_position_bias_table[self.relative_position_index].permute(2, 0, 1)


class BeitAttention(nn.Module):
    """Self-attention whose keys have no bias; with its own relative bias where `grid` is given."""

    relative_position_index: Tensor

    def __init__(self, width: int, heads: int, qkv_bias: bool, grid: tuple[int, int] | None) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.q_bias = nn.Parameter(torch.zeros(width)) if qkv_bias else None
        self.v_bias = nn.Parameter(torch.zeros(width)) if qkv_bias else None
        self.proj = nn.Linear(width, width)
        self.relative = grid is not None
        if grid is not None:
            # The release keeps table and index beside the projections, so they are adopted from the module.
            own = RelativePositionBias(*grid, heads)
            self.relative_position_bias_table = own.relative_position_bias_table
            self.register_buffer("relative_position_index", own.relative_position_index)

    def forward(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """[B, T, D] -> [B, T, D]; `bias` [H, T, T] is shared by all blocks."""
        biases = None
        if self.q_bias is not None and self.v_bias is not None:
            # a bias of the keys adds the same to all logits of a query, which the softmax takes away again
            biases = torch.cat([self.q_bias, torch.zeros_like(self.q_bias), self.v_bias])
        q, k, v = F.linear(x, self.qkv.weight, biases).unflatten(-1, (3, self.heads, -1)).unbind(2)  # [B, T, H, d]
        if self.relative:
            own = self.relative_position_bias_table[self.relative_position_index].permute(2, 0, 1)
            bias = own if bias is None else own + bias
        return self.proj(attend(q, k, v, bias=bias).flatten(2))


class BeitBlock(nn.Module):
    """x + gamma_1 attention(norm(x)), then x + gamma_2 mlp(norm(x)).

    Args:
        width: D.
        heads: number H of heads; D must be a multiple.
        mlp_ratio: hidden width of the MLP over D.
        layer_scale: start of gamma_1 and gamma_2; None or 0 for none.
        qkv_bias: whether q and v have biases.
        grid: rows and columns, for a relative position bias of this block's own.
        eps: of the layer norms.
        drop_path: probability of skipping a branch while training.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        *,
        mlp_ratio: float = 4.0,
        layer_scale: float | None = None,
        qkv_bias: bool = True,
        grid: tuple[int, int] | None = None,
        eps: float = 1e-6,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width, eps=eps), nn.LayerNorm(width, eps=eps)
        self.attn = BeitAttention(width, heads, qkv_bias, grid)
        self.mlp = Mlp(width, int(width * mlp_ratio))
        self.gamma_1 = nn.Parameter(torch.full((width,), layer_scale)) if layer_scale else None
        self.gamma_2 = nn.Parameter(torch.full((width,), layer_scale)) if layer_scale else None
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """[B, T, D] -> [B, T, D]; `bias` [H, T, T] is added to the attention logits."""
        x = x + self.drop_path(_scaled(self.attn(self.norm1(x), bias), self.gamma_1))
        return x + self.drop_path(_scaled(self.mlp(self.norm2(x)), self.gamma_2))


def _scaled(x: Tensor, gamma: Tensor | None) -> Tensor:
    return x if gamma is None else gamma * x


@torch.no_grad()
def initialise(module: nn.Module, std: float = 0.02) -> None:
    """Initial weights of BEiT: truncated normal, zero biases; block i's output maps divided by sqrt(2 i)."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            nn.init.trunc_normal_(layer.weight, std=std, a=-std, b=std)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    for name in ("cls_token", "mask_token", "pos_embed"):
        table = getattr(module, name, None)
        if table is not None:
            nn.init.trunc_normal_(table, std=std, a=-std, b=std)
    # two branches per block add to the residual stream: this keeps its variance from growing with the depth
    for number, block in enumerate((b for b in module.modules() if isinstance(b, BeitBlock)), start=1):
        for layer in (block.attn.proj, block.mlp.fc2):
            layer.weight.div_((2.0 * number) ** 0.5)
