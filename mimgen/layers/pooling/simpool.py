"""SimPool, and the same without projections."""

from __future__ import annotations

from torch import Tensor, nn

from mimgen.layers.attention import check_heads
from mimgen.layers.pooling.contract import Pooled, Pooling, join_heads, split_heads, weigh


class SimPool(Pooling):
    """The mean token asks the normalised tokens (Psomas et al., arXiv 2309.06891, section 3.3), gamma 1.

    Query W_q mean(x), keys W_k LN(x), values LN(x). The query is not normalised.

    Args:
        width: D.
        heads: H.
    """

    def __init__(self, width: int, heads: int = 1) -> None:
        super().__init__(width)
        check_heads(width, heads)
        self.heads = heads
        self.norm_patches = nn.LayerNorm(width, eps=1e-6)
        self.wq = nn.Linear(width, width, bias=False)
        self.wk = nn.Linear(width, width, bias=False)

    def pool_with_maps(self, tokens: Tensor) -> Pooled:
        """See `Pooling.pool_with_maps`; `attention` is [B, H, 1, N]."""
        normed = self.norm_patches(tokens)
        query = self.wq(tokens.mean(1, keepdim=True))
        return _mix(query, self.wk(normed), normed, self.heads)


class ESimPool(Pooling):
    """SimPool without projections: query LN(mean(x)), keys LN(x), values x.

    Args:
        width: D.
        heads: H.
    """

    def __init__(self, width: int, heads: int = 12) -> None:
        super().__init__(width)
        check_heads(width, heads)
        self.heads = heads
        self.norm_patches = nn.LayerNorm(width, eps=1e-6)

    def pool_with_maps(self, tokens: Tensor) -> Pooled:
        """See `Pooling.pool_with_maps`; `attention` is [B, H, 1, N]."""
        query = self.norm_patches(tokens.mean(1, keepdim=True))
        return _mix(query, self.norm_patches(tokens), tokens, self.heads)


def _mix(query: Tensor, key: Tensor, value: Tensor, heads: int) -> Pooled:
    attention = weigh(split_heads(query, heads), split_heads(key, heads))  # [B, H, 1, N]
    vector = join_heads(attention @ split_heads(value, heads))[:, 0]
    return Pooled(vector, attention[:, :, 0], attention)
