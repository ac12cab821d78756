"""Attention-based multiple-instance pooling with a self-attention in front (AbMILP)."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor, nn

from mimgen.errors import UserError
from mimgen.layers.pooling.contract import Pooled, Pooling
from mimgen.layers.position import sincos_2d

Use = Literal["none", "map", "both"]
Activation = Literal["tanh", "relu"]


class AbmilpPooling(Pooling):
    """sum_n softmax_n(MLP(x_n + p_n)) x_n (Ilse et al., arXiv 1802.04712, equations 7 and 8, without gate).

    As in "Beyond [cls]" (Przewiezlikowski et al., arXiv 2412.03215): a single-head self-attention may come first.

    Args:
        width: D.
        self_attention: where self-attention acts: "none"; "map", on the input of the scores alone; "both", on
            the scores' input and on the content.
        activation: between the linear layers of the scores' MLP.
        depth: linear layers of that MLP.
        positions: N for a learnt position table, started as sines and cosines, that is added to the scores' input;
            0 for none. A table of a square grid plus one gets a zero row for the class token in front.
        patches_only: leave out the first token, the class token.
    """

    def __init__(
        self,
        width: int,
        self_attention: Use = "both",
        activation: Activation = "tanh",
        depth: int = 2,
        positions: int = 0,
        patches_only: bool = False,
    ) -> None:
        super().__init__(width)
        if self_attention not in get_args(Use) or activation not in get_args(Activation) or depth < 1:
            raise UserError(
                f"self_attention={self_attention!r}, activation={activation!r}, depth={depth}: choose of "
                f"{get_args(Use)} and {get_args(Activation)}, and a depth of at least 1"
            )
        self.use, self.patches_only = self_attention, patches_only
        self.self_attn = _SingleHead(width) if self_attention != "none" else None
        self.pos_embed = nn.Parameter(_table(width, positions)) if positions else None
        layers: list[nn.Module] = []
        for _ in range(depth - 1):
            layers += [nn.Linear(width, width), nn.Tanh() if activation == "tanh" else nn.ReLU()]
        self.attention_predictor = nn.Sequential(*layers, nn.Linear(width, 1))

    def pool_with_maps(self, tokens: Tensor) -> Pooled:
        """See `Pooling.pool_with_maps`; `attention` is [B, N, 1]; with `patches_only` the class token's share is 0."""
        x = tokens[:, 1:] if self.patches_only else tokens
        contextual = x if self.self_attn is None else self.self_attn(x)
        content = contextual if self.use == "both" else x
        if self.pos_embed is not None:
            if self.pos_embed.shape[1] != x.shape[1]:
                raise UserError(f"positions={self.pos_embed.shape[1]}, but {x.shape[1]} tokens came: make them equal")
            contextual = contextual + self.pos_embed
        attention = self.attention_predictor(contextual).softmax(1)  # [B, N, 1]
        maps = attention.transpose(1, 2)
        vector = (maps @ content)[:, 0]  # [B, D]
        return Pooled(vector, nn.functional.pad(maps, (int(self.patches_only), 0)), attention)


class _SingleHead(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).chunk(3, -1)
        return self.proj((q * q.shape[-1] ** -0.5 @ k.transpose(1, 2)).softmax(-1) @ v)


def _table(width: int, count: int) -> Tensor:
    side = int(count**0.5)
    extra = count - side * side
    if extra > 1:
        raise UserError(f"positions={count} is no square grid with or without a class token: pass rows * rows (+ 1)")
    return torch.cat([torch.zeros(extra, width), sincos_2d(width, side, side)])[None]
