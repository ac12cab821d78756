"""Token ids to vectors and back: embedding and head of a token transformer.

Parameter names are those of the official Meissonic release.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mimgen.layers.norm import RMSNorm


class DigitTable(nn.Module):
    """Rows for code ids that are sums over the id's digits: [K, D] from one row a digit value.

    An FSQ or LFQ id is a number in mixed radix. Codes that share digits then share what is
    learned of them, so a small model needs far fewer images than with K unrelated rows.

    Args:
        levels: digit ranges, lowest place first, as in `FiniteScalarQuantizer`.
        rows: K rows; ids beyond the product of the levels (mask and spare ids) get zero.
        width: D.
        scale: standard deviation of a sum at the start.
    """

    digits: Tensor

    def __init__(self, levels: tuple[int, ...], rows: int, width: int, scale: float) -> None:
        super().__init__()
        ids, columns = torch.arange(math.prod(levels)), []
        for level in levels:
            columns.append(F.one_hot(ids % level, level))
            ids = ids // level
        known = torch.cat(columns, dim=1).float()  # [K, sum of levels]
        table = torch.zeros(rows, sum(levels))
        table[: min(rows, len(known))] = known[:rows]
        self.register_buffer("digits", table, persistent=False)
        # neighbouring values of a digit start alike: half of each row is linear in the value
        # evenly spread over +-1.7 = +-sqrt 3 the variance is about 1, as of the noise
        slopes = [torch.linspace(-1.7, 1.7, level)[:, None] * torch.randn(1, width) for level in levels]
        initial = (torch.cat(slopes) + torch.randn(sum(levels), width)) / (2 * len(levels)) ** 0.5
        self.rows = nn.Parameter(scale * initial)

    def forward(self) -> Tensor:
        """[K, D]."""
        return self.digits.to(self.rows.dtype) @ self.rows


class TokenEmbedding(nn.Module):
    """Token ids [B, h, w] to a map [B, D, h, w]: table, RMS norm, 1x1 convolution."""

    def __init__(self, vocabulary: int, width: int, levels: tuple[int, ...] | None) -> None:
        super().__init__()
        self.embeddings = nn.Embedding(vocabulary, width)
        self.digits = DigitTable(levels, vocabulary, width, 0.02) if levels else None
        self.layer_norm = RMSNorm(width)
        self.conv = nn.Conv2d(width, width, 1, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """[B, h, w] int64 -> [B, D, h, w]."""
        return self.rows(tokens).movedim(-1, 1)  # [B, D, h, w]

    def rows(self, tokens: Tensor) -> Tensor:
        """Ids of any shape [...] int64 -> [..., D]."""
        table = self.embeddings.weight
        if self.digits is not None:
            table = table + self.digits()
        # the 1x1 convolution as a matrix product: the embedding is channels-last already
        x = self.layer_norm(F.embedding(tokens, table))
        return F.linear(x, self.conv.weight[:, :, 0, 0])


class TokenHead(nn.Module):
    """States [B, M, D] to logits [B, M, K]: linear, RMS norm, linear (1x1 convolutions in the release)."""

    def __init__(self, width: int, codebook_size: int, levels: tuple[int, ...] | None) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 1, bias=False)
        self.layer_norm = RMSNorm(width)
        self.conv2 = nn.Conv2d(width, codebook_size, 1, bias=False)
        self.digits = DigitTable(levels, codebook_size, width, 0.02) if levels else None

    def forward(self, hidden: Tensor) -> Tensor:
        """[B, M, D] or [M, D] -> logits over K codes."""
        return self.logits(self.features(hidden))

    def features(self, hidden: Tensor) -> Tensor:
        """[..., D] -> [..., D], what the last linear layer reads."""
        return self.layer_norm(F.linear(hidden, self.conv1.weight[:, :, 0, 0]))

    def logits(self, features: Tensor) -> Tensor:
        """[..., D] -> [..., K]: linear without a bias, so mixtures of features give mixtures of logits."""
        table = self.conv2.weight[:, :, 0, 0]
        return F.linear(features, table if self.digits is None else table + self.digits())
