"""The block of CAE's regressor: queries attend to a memory that stays as it is, and to themselves."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mimgen.layers.blocks.cross import CrossAttention
from mimgen.layers.blocks.vit import Mlp


class RegressorBlock(nn.Module):
    """x = norm(x + gamma_1 attention(x; memory and x)), then x + gamma_2 mlp(x) (CAE, section 3.1).

    The norm in the middle replaces the stream, unlike in a pre-norm block. Parameter names are the official ones.

    Args:
        width: D.
        heads: number H of heads.
        mlp_ratio: hidden width of the MLP over D.
        layer_scale: start of gamma_1 and gamma_2; None or 0 for none.
        qkv_bias: whether q and v have biases; one of k would move all scores of a query alike.
        eps: of the layer norms.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        *,
        mlp_ratio: float = 4.0,
        layer_scale: float | None = None,
        qkv_bias: bool = True,
        eps: float = 1e-6,
    ) -> None:
        super().__init__()
        self.norm1_q, self.norm1_k = nn.LayerNorm(width, eps), nn.LayerNorm(width, eps)
        self.norm1_v, self.norm2_cross = nn.LayerNorm(width, eps), nn.LayerNorm(width, eps)
        self.cross_attn = CrossAttention(width, heads, qkv_bias=qkv_bias)
        self.cross_attn.k = nn.Linear(width, width, bias=False)
        self.mlp_cross = Mlp(width, int(width * mlp_ratio))
        self.gamma_1_cross = nn.Parameter(torch.full((width,), layer_scale)) if layer_scale else None
        self.gamma_2_cross = nn.Parameter(torch.full((width,), layer_scale)) if layer_scale else None

    def forward(self, x: Tensor, memory: Tensor, positions: Tensor, memory_positions: Tensor) -> Tensor:
        """Queries [B, M, D] and memory [B, K, D] to [B, M, D].

        Args:
            x: queries.
            memory: what they attend to besides themselves.
            positions: [B, M, D] positions of the queries; what is read from a token does not hold its position.
            memory_positions: [B, K, D] positions of the memory.
        """
        tokens = torch.cat([memory, x], dim=1)
        keys = self.norm1_k(tokens + torch.cat([memory_positions, positions], dim=1))
        read = self.cross_attn(self.norm1_q(x + positions), keys, self.norm1_v(tokens))
        x = self.norm2_cross(x + (read if self.gamma_1_cross is None else self.gamma_1_cross * read))
        fed = self.mlp_cross(x)
        return x + (fed if self.gamma_2_cross is None else self.gamma_2_cross * fed)
