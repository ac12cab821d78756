"""Poolings made of one transformer block: CaiT, V-JEPA, DINO's block, CLIP."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mimgen.errors import UserError
from mimgen.layers.attention import check_heads
from mimgen.layers.blocks.vit import Mlp, VitBlock
from mimgen.layers.pooling.attention import CrossAttention, JointCrossAttention
from mimgen.layers.pooling.contract import (
    Pooled,
    Pooling,
    init_token,
    join_heads,
    split_heads,
    weigh,
)


class CaitPooling(Pooling):
    """One class-attention block (Touvron et al., arXiv 2103.17239, section 3.2).

    u = [c, x]; c += gamma_1 CA(LN(u)); c += gamma_2 MLP(LN(c)); the vector is LN(c).

    Args:
        width: D.
        heads: H.
        layer_scale: start of gamma.
    """

    def __init__(self, width: int, heads: int = 4, layer_scale: float = 1e-4) -> None:
        super().__init__(width)
        self.cls_token = init_token(1, 1, width)
        self.block = _ClassBlock(width, heads, layer_scale)
        self.norm = nn.LayerNorm(width)

    def pool_with_maps(self, tokens: Tensor) -> Pooled:
        """See `Pooling.pool_with_maps`; `attention` is [B, H, 1, N + 1], the class token being key 0."""
        vector, attention = self.block(self.cls_token.expand(len(tokens), -1, -1), tokens)
        return Pooled(self.norm(vector)[:, 0], _without_first(attention[:, :, 0]), attention)


class _ClassBlock(nn.Module):
    def __init__(self, width: int, heads: int, layer_scale: float) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width, 1e-6), nn.LayerNorm(width, 1e-6)
        self.attn = CrossAttention(width, heads)
        self.mlp = Mlp(width, 4 * width)
        self.gamma_1 = nn.Parameter(torch.full((width,), layer_scale))
        self.gamma_2 = nn.Parameter(torch.full((width,), layer_scale))

    def forward(self, token: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        x = self.norm1(torch.cat([token, tokens], 1))  # [B, 1 + N, D]
        change, attention = self.attn(x[:, :1], x, x)  # one query: patches are not changed
        token = token + self.gamma_1 * change
        return token + self.gamma_2 * self.mlp(self.norm2(token)), attention


class JepaPooling(Pooling):
    """Attentive probe of V-JEPA (Bardes et al., arXiv 2404.08471, section 4): a cross-attention block.

    q is learnt; q += CA(q, LN(x)); q += MLP(LN(q)). The query itself is not normalised.

    Args:
        width: D.
        heads: H.
    """

    def __init__(self, width: int, heads: int = 16) -> None:
        super().__init__(width)
        self.query_tokens = init_token(1, 1, width)
        self.block = _CrossBlock(width, heads)

    def pool_with_maps(self, tokens: Tensor) -> Pooled:
        """See `Pooling.pool_with_maps`; `attention` is [B, H, 1, N]."""
        vector, attention = self.block(self.query_tokens, tokens)
        return Pooled(vector[:, 0], attention[:, :, 0], attention)


class _CrossBlock(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.xattn = JointCrossAttention(width, heads)
        self.mlp = Mlp(width, 4 * width)

    def forward(self, query: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        change, attention = self.xattn(query, self.norm1(tokens))
        query = query + change
        return query + self.mlp(self.norm2(query)), attention


class DinoBlockPooling(Pooling):
    """One more ViT block (norms 1e-5, qkv without bias, no LayerScale), then the mean over tokens.

    Args:
        width: D.
        heads: H.
    """

    def __init__(self, width: int, heads: int = 8) -> None:
        super().__init__(width)
        self.block = VitBlock(width, heads, eps=1e-5, qkv_bias=False)

    def pool_with_maps(self, tokens: Tensor) -> Pooled:
        """See `Pooling.pool_with_maps`; `attention` is [B, H, N, N], `maps` how much a token receives on average."""
        attention = self.block.attn.maps(self.block.norm1(tokens))
        return Pooled(self.block(tokens).mean(1), attention.mean(2), attention)

    def pool(self, tokens: Tensor) -> Tensor:
        """The vector [B, D], without keeping the maps."""
        return self.block(tokens).mean(1)


class ClipPooling(Pooling):
    """CLIP's attention pooling (Radford et al., arXiv 2103.00020, section 2.4): the mean token asks.

    u = [mean(LN(x)), LN(x)] + p; self-attention over u; the vector is the first token's.

    Args:
        width: D.
        tokens: N; the position table has N + 1 rows.
        heads: H.
    """

    def __init__(self, width: int, tokens: int = 196, heads: int = 4) -> None:
        super().__init__(width)
        check_heads(width, heads)
        self.heads = heads
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.pos_embed = init_token(tokens + 1, width)
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def pool_with_maps(self, tokens: Tensor) -> Pooled:
        """See `Pooling.pool_with_maps`; `attention` is [B, H, N + 1, N + 1], the mean being token 0."""
        q, k, v = self._project(tokens)
        attention = weigh(q, k)
        vector = self.proj(join_heads(attention[:, :, :1] @ v))[:, 0]
        return Pooled(vector, _without_first(attention[:, :, 0]), attention)

    def pool(self, tokens: Tensor) -> Tensor:
        """The vector [B, D]; only the mean token asks."""
        q, k, v = self._project(tokens)
        return self.proj(join_heads(weigh(q[:, :, :1], k) @ v))[:, 0]

    def _project(self, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        q, k, v = (split_heads(part, self.heads) for part in self.qkv(self._embed(tokens)).chunk(3, -1))
        return q, k, v

    def _embed(self, tokens: Tensor) -> Tensor:
        if tokens.shape[1] + 1 != len(self.pos_embed):
            raise UserError(
                f"this pooling was made for {len(self.pos_embed) - 1} tokens, got {tokens.shape[1]}: build it "
                "with tokens=..."
            )
        x = self.norm(tokens)
        return torch.cat([x.mean(1, keepdim=True), x], 1) + self.pos_embed


def _without_first(weights: Tensor) -> Tensor:
    """[B, H, 1 + N] weights to those of the N tokens, summing to 1 again."""
    weights = weights[..., 1:]
    return weights / weights.sum(-1, keepdim=True)
