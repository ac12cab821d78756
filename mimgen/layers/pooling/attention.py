"""Cross-attention from one or a few query tokens to all tokens of an image."""

from __future__ import annotations

from torch import Tensor, nn

from mimgen.layers.attention import check_heads
from mimgen.layers.pooling.contract import join_heads, split_heads, weigh


class CrossAttention(nn.Module):
    """Multi-head attention with four projections; keys and values may come from different tokens.

    Args:
        width: D, a multiple of `heads`.
        heads: H.
        qkv_bias: whether the first three projections have biases.
    """

    def __init__(self, width: int, heads: int, qkv_bias: bool = True) -> None:
        super().__init__()
        check_heads(width, heads)
        self.heads = heads
        self.q, self.k, self.v = (nn.Linear(width, width, bias=qkv_bias) for _ in range(3))
        self.proj = nn.Linear(width, width)

    def forward(self, query: Tensor, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """[B or 1, T, D], [B, N, D] and [B, N, D] to [B, T, D] and the weights [B, H, T, N]."""
        attention = weigh(split_heads(self.q(query), self.heads), split_heads(self.k(keys), self.heads))
        return self.proj(join_heads(attention @ split_heads(self.v(values), self.heads))), attention


class JointCrossAttention(nn.Module):
    """The same with keys and values of the same tokens from one projection `kv`, all with biases."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        check_heads(width, heads)
        self.heads = heads
        self.q, self.kv, self.proj = nn.Linear(width, width), nn.Linear(width, 2 * width), nn.Linear(width, width)

    def forward(self, query: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """[B or 1, T, D] and [B, N, D] to [B, T, D] and the weights [B, H, T, N]."""
        key, value = self.kv(tokens).chunk(2, -1)
        attention = weigh(split_heads(self.q(query), self.heads), split_heads(key, self.heads))
        return self.proj(join_heads(attention @ split_heads(value, self.heads))), attention
