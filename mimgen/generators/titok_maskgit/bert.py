"""BERT's embeddings and post-norm block (Devlin et al., 2018, arXiv 1810.04805), under their usual key names."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mimgen.errors import UserError
from mimgen.layers.attention import attend

EPS = 1e-12


class BertEmbeddings(nn.Module):
    """Words plus learned positions plus the one token type, normalised.

    Args:
        words: rows of the table of words.
        positions: rows of the table of positions, the longest sequence.
        width: D.
        dropout: on the result.
    """

    def __init__(self, words: int, positions: int, width: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(words, width)
        self.position_embeddings = nn.Embedding(positions, width)
        self.token_type_embeddings = nn.Embedding(2, width)  # the second is never used here
        self.LayerNorm = nn.LayerNorm(width, EPS)
        self.dropout = nn.Dropout(dropout)

    def forward(self, ids: Tensor) -> Tensor:
        """Ids [B, T] int64 to [B, T, D]."""
        positions = self.position_embeddings.weight[: ids.shape[1]]
        return self.dropout(
            self.LayerNorm(self.word_embeddings(ids) + positions + self.token_type_embeddings.weight[0])
        )


class _Output(nn.Module):
    """Linear, dropout, residual, layer norm."""

    def __init__(self, inputs: int, width: int, dropout: float) -> None:
        super().__init__()
        self.dense = nn.Linear(inputs, width)
        self.LayerNorm = nn.LayerNorm(width, EPS)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, residual: Tensor) -> Tensor:
        """[B, T, inputs] and [B, T, D] -> [B, T, D]."""
        return self.LayerNorm(residual + self.dropout(self.dense(x)))


class BertBlock(nn.Module):
    """Attention and a GELU MLP, each followed by residual and layer norm. [B, T, D] -> [B, T, D].

    Args:
        width: D.
        heads: attention heads H, a divisor of `width`.
        hidden: width of the MLP.
        dropout: on both branches.

    Raises:
        UserError: `heads` does not divide `width`.
    """

    def __init__(self, width: int, heads: int, hidden: int, dropout: float = 0.0) -> None:
        super().__init__()
        if width % heads:
            raise UserError(f"width {width} does not divide into {heads} heads: change one of them")
        self.heads = heads
        own = nn.ModuleDict({name: nn.Linear(width, width) for name in ("query", "key", "value")})
        self.attention = nn.ModuleDict({"self": own, "output": _Output(width, width, dropout)})
        self.intermediate = nn.ModuleDict({"dense": nn.Linear(width, hidden)})
        self.output = _Output(hidden, width, dropout)

    def forward(self, x: Tensor) -> Tensor:
        """[B, T, D] -> [B, T, D]."""
        own = self.attention["self"]
        assert isinstance(own, nn.ModuleDict)
        q, k, v = (own[name](x).unflatten(-1, (self.heads, -1)) for name in ("query", "key", "value"))
        x = self.attention["output"](attend(q, k, v).flatten(2), x)
        return self.output(F.gelu(self.intermediate["dense"](x)), x)


def init_bert(module: nn.Module) -> None:
    """BERT's initial weights inside: truncated normal 0.02 for linear layers and tables, zero biases."""
    for part in module.modules():
        if isinstance(part, (nn.Linear, nn.Embedding)):
            nn.init.trunc_normal_(part.weight, std=0.02)
        if isinstance(part, nn.Linear) and part.bias is not None:
            torch.nn.init.zeros_(part.bias)
