"""Poolings with a learnt query and an attention of several heads: AIM, CAE, SigLIP, CoCa."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mimgen.layers.attention import check_heads
from mimgen.layers.blocks.vit import Mlp
from mimgen.layers.pooling.attention import CrossAttention, JointCrossAttention
from mimgen.layers.pooling.contract import (
    Pooled,
    Pooling,
    init_token,
    join_heads,
    split_heads,
    weigh,
)


class AimPooling(Pooling):
    """Attentive probe of AIM (El-Nouby et al., arXiv 2401.08541, section 4): tokens are batch-normalised first.

    Args:
        width: D.
        heads: H.
        queries: learnt queries, whose outputs are averaged.
    """

    def __init__(self, width: int, heads: int = 16, queries: int = 1) -> None:
        super().__init__(width)
        check_heads(width, heads)
        self.heads = heads
        self.bn = nn.BatchNorm1d(width, affine=False, eps=1e-6)
        self.cls_token = init_token(1, queries, width)
        self.k = nn.Linear(width, width, bias=False)
        self.v = nn.Linear(width, width, bias=False)

    def pool_with_maps(self, tokens: Tensor) -> Pooled:
        """See `Pooling.pool_with_maps`; `attention` is [B, H, queries, N]. Statistics are over images and tokens."""
        x = self.bn(tokens.transpose(1, 2)).transpose(1, 2)  # BatchNorm1d takes channels second
        attention = weigh(split_heads(self.cls_token, self.heads), split_heads(self.k(x), self.heads))
        vector = join_heads(attention @ split_heads(self.v(x), self.heads)).mean(1)
        return Pooled(vector, attention.flatten(1, 2), attention)


class CaePooling(Pooling):
    """Attentive probe of CAE (Chen et al., arXiv 2202.03026, section 4): one cross-attention, three norms.

    Args:
        width: D.
        heads: H.
    """

    def __init__(self, width: int, heads: int = 8) -> None:
        super().__init__(width)
        self.query_token = init_token(1, 1, width)
        self.norm1_q, self.norm1_k, self.norm1_v = (nn.LayerNorm(width) for _ in range(3))
        self.cross_attn = CrossAttention(width, heads, qkv_bias=False)

    def pool_with_maps(self, tokens: Tensor) -> Pooled:
        """See `Pooling.pool_with_maps`; `attention` is [B, H, 1, N]."""
        query = self.norm1_q(self.query_token)
        vector, attention = self.cross_attn(query, self.norm1_k(tokens), self.norm1_v(tokens))
        return Pooled(vector[:, 0], attention[:, :, 0], attention)


class SiglipPooling(Pooling):
    """SigLIP's MAP head (Zhai et al., arXiv 2303.15343, after arXiv 2106.04560): attention, then x + MLP(x).

    No norm stands in front of the MLP.

    Args:
        width: D.
        heads: H.
        mlp_ratio: hidden width of the MLP over D.
    """

    def __init__(self, width: int, heads: int = 8, mlp_ratio: float = 4.0) -> None:
        super().__init__(width)
        self.latent = init_token(1, 1, width)
        self.attn = JointCrossAttention(width, heads)
        self.mlp = Mlp(width, int(mlp_ratio * width))

    def pool_with_maps(self, tokens: Tensor) -> Pooled:
        """See `Pooling.pool_with_maps`; `attention` is [B, H, 1, N]."""
        x, attention = self.attn(self.latent, tokens)
        return Pooled((x + self.mlp(x))[:, 0], attention[:, :, 0], attention)


class CocaPooling(Pooling):
    """CoCa's attentional pooling (Yu et al., arXiv 2205.01917, section 3.2), of which query 0 is the vector.

    All heads of the queries share one head of keys and values. Tokens are taken as they are.

    Args:
        width: D.
        queries: learnt queries; all but the first only appear in `attention`.
        heads: H of the queries.
        head_width: d of a head.
    """

    def __init__(self, width: int, queries: int = 196, heads: int = 8, head_width: int = 64) -> None:
        super().__init__(width)
        self.heads = heads
        self.img_queries = init_token(queries, width)
        self.norm = _GainNorm(width)
        self.to_q = nn.Linear(width, heads * head_width, bias=False)
        self.to_kv = nn.Linear(width, 2 * head_width, bias=False)
        self.to_out = nn.Linear(heads * head_width, width, bias=False)

    def pool_with_maps(self, tokens: Tensor) -> Pooled:
        """See `Pooling.pool_with_maps`; `attention` is [B, H, queries, N], `maps` those of query 0."""
        vector, attention = self._ask(self.img_queries, tokens)
        return Pooled(vector, attention[:, :, 0], attention)

    def pool(self, tokens: Tensor) -> Tensor:
        """The vector [B, D]; only query 0 is computed."""
        return self._ask(self.img_queries[:1], tokens)[0]

    def _ask(self, queries: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        query = split_heads(self.to_q(self.norm(queries))[None], self.heads)
        key, value = self.to_kv(tokens)[:, None].chunk(2, -1)  # [B, 1, N, d] each: one head for all queries
        attention = weigh(query, key)
        return self.to_out(join_heads(attention[:, :, :1] @ value))[:, 0], attention


class _GainNorm(nn.Module):
    """Layer norm with a learnt gain and a shift that stays zero."""

    beta: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(width))
        self.register_buffer("beta", torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, self.gamma.shape, self.gamma, self.beta)
