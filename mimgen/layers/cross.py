"""Attention from one sequence to another."""

from __future__ import annotations

from torch import Tensor, nn

from mimgen.errors import UserError
from mimgen.layers.attention import attend


class CrossAttention(nn.Module):
    """Multi-head attention of queries to a memory, with a projection each for queries, keys, values and output.

    Args:
        width: D of the queries and of the output, a multiple of `heads`.
        heads: H.
        memory_width: of the tokens that are attended to; D by default.
        qkv_bias: whether the first three projections have biases.
    """

    def __init__(self, width: int, heads: int, memory_width: int | None = None, *, qkv_bias: bool = True) -> None:
        super().__init__()
        if width % heads:
            raise UserError(f"width {width} does not divide into {heads} heads: change one of them")
        self.heads = heads
        self.q = nn.Linear(width, width, bias=qkv_bias)
        self.k, self.v = (nn.Linear(memory_width or width, width, bias=qkv_bias) for _ in range(2))
        self.proj = nn.Linear(width, width)

    def forward(self, queries: Tensor, keys: Tensor, values: Tensor | None = None) -> Tensor:
        """Queries [B, T, D] and memory [B, S, memory_width] to [B, T, D].

        Args:
            queries: what asks.
            keys: what is compared with.
            values: what is read, where it differs from the keys.
        """
        q = self.q(queries).unflatten(-1, (self.heads, -1))
        k = self.k(keys).unflatten(-1, (self.heads, -1))
        v = self.v(keys if values is None else values).unflatten(-1, (self.heads, -1))
        return self.proj(attend(q, k, v).flatten(2))
