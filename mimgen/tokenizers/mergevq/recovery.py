"""Learned source recovery: which kept code belongs to each position, from the codes alone (section 4.2).

A generator that samples K codes has no source matrix. L learned queries attend to the codes; the similarity of
query and code is the probability that the position belongs to the code's group.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mimgen.errors import UserError
from mimgen.layers.attention import attend
from mimgen.layers.blocks.vit import DropPath, Mlp, VitBlock
from mimgen.tokenizers.mergevq.encoder import LAYER_NORM_EPS, LAYER_SCALE


class CrossBlock(nn.Module):
    """Cross-attention and MLP on the queries; keys and values are not normed again."""

    def __init__(self, width: int, heads: int, drop_path: float) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width, LAYER_NORM_EPS), nn.LayerNorm(width, LAYER_NORM_EPS)
        self.q, self.kv, self.proj = nn.Linear(width, width), nn.Linear(width, 2 * width), nn.Linear(width, width)
        self.mlp = Mlp(width, 4 * width)
        self.gamma1, self.gamma2 = (nn.Parameter(torch.full((width,), LAYER_SCALE)) for _ in range(2))
        self.drop_path = DropPath(drop_path)

    def forward(self, queries: Tensor, codes: Tensor) -> Tensor:
        """Queries [B, N, D] and codes [B, K, D] -> [B, N, D]."""
        q = self.q(self.norm1(queries)).unflatten(-1, (self.heads, -1))  # [B, N, H, D / H]
        k, v = self.kv(codes).unflatten(-1, (2, self.heads, -1)).unbind(2)  # [B, K, H, D / H] each
        queries = queries + self.drop_path(self.gamma1 * self.proj(attend(q, k, v).flatten(2)))
        return queries + self.drop_path(self.gamma2 * self.mlp(self.norm2(queries)))


class SourceRecovery(nn.Module):
    """Logits of the source matrix from the kept codes.

    Args:
        latent: channels of a code.
        tokens: positions N of the full grid.
        width: D (384 in table A2).
        layers: cross-attention blocks (2).
        heads: attention heads (8).
        self_layers: self-attention blocks over the queries behind them: 2 in the paper, none in the release.
        drop_path: probability of skipping a branch while training (0.1).
    """

    def __init__(
        self,
        latent: int,
        tokens: int,
        width: int = 384,
        layers: int = 2,
        heads: int = 8,
        *,
        self_layers: int = 2,
        drop_path: float = 0.1,
    ) -> None:
        super().__init__()
        if width % heads:
            raise UserError(f"recovery width {width} does not divide into {heads} heads: change one of them")
        self.rec_embed = nn.Linear(latent, width)
        self.norm_in = nn.LayerNorm(width, LAYER_NORM_EPS)
        self.rec_tokens = nn.Parameter(torch.randn(1, tokens, width) * 1e-6)
        self.blocks = nn.ModuleList(CrossBlock(width, heads, drop_path) for _ in range(layers))
        self.self_blocks = nn.ModuleList(
            VitBlock(width, heads, layer_scale=LAYER_SCALE, drop_path=drop_path, eps=LAYER_NORM_EPS)
            for _ in range(self_layers)
        )
        self.rec_head = nn.Linear(width, width)

    def forward(self, codes: Tensor) -> Tensor:
        """Codes [B, K, latent] to logits [B, K, N]; softmax over K gives each position's group."""
        keys = self.norm_in(self.rec_embed(codes))  # [B, K, D]
        queries = self.rec_tokens.expand(len(codes), -1, -1)  # [B, N, D]
        for block in self.blocks:
            queries = block(queries, keys)
        for block in self.self_blocks:
            queries = block(queries)
        # one head for both and no temperature, as released; [B, K, N]
        return self.rec_head(keys) @ self.rec_head(queries).transpose(1, 2)


def hard_source(logits: Tensor) -> Tensor:
    """Logits [B, K, N] to a boolean source matrix [B, K, N] with one group for each position."""
    positions = torch.arange(logits.shape[1], device=logits.device)
    return logits.argmax(1, keepdim=True) == positions[:, None]


def recovery_loss(logits: Tensor, source: Tensor, form: Literal["binary", "categorical"] = "binary") -> Tensor:
    """How far predicted groups are from true ones, a scalar.

    Args:
        logits: [B, K, N] from `SourceRecovery`.
        source: [B, K, N] 0/1, the true source matrix.
        form: "binary" is the paper's mean binary cross-entropy over all entries of S; "categorical" is the
            cross-entropy of each position's group, whose gradient does not shrink with K.

    Raises:
        UserError: an unknown form.
    """
    if form not in ("binary", "categorical"):
        raise UserError(f'recovery loss "{form}" is unknown: choose binary (the paper\'s) or categorical')
    logs = logits.float().log_softmax(1)
    if form == "categorical":
        return F.nll_loss(logs, source.to(torch.uint8).argmax(1))
    # log(1 - p) from log p; the floor keeps it finite where p rounds to 1.
    rest = torch.log((-torch.expm1(logs)).clamp(min=1e-7))
    return -torch.where(source.bool(), logs, rest).mean()
