"""Poolings that weigh positions of a map: CBAM and DOLG."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mimgen.errors import UserError
from mimgen.layers.pooling.contract import Pooled, Pooling, square_side


class _MapPooling(Pooling):
    """Tokens laid out as a map [B, D, h, w]; square unless `grid` gives rows and columns."""

    def __init__(self, width: int, grid: tuple[int, int] | None) -> None:
        super().__init__(width)
        self.grid = grid

    def _map(self, tokens: Tensor) -> Tensor:
        rows, columns = self.grid or (square_side(tokens.shape[1]),) * 2
        if rows * columns != tokens.shape[1]:
            raise UserError(f"grid {rows} x {columns} has not {tokens.shape[1]} tokens: pass patch tokens of that grid")
        return tokens.transpose(1, 2).unflatten(2, (rows, columns))


class CbamPooling(_MapPooling):
    """Mean of relu(x + gated x), gated by channel and by place (CBAM, Woo et al., arXiv 1807.06521, section 3).

    Args:
        width: D.
        reduction: D over the hidden width of the channel gate, which is rounded and at least 1.
        grid: rows and columns; None for a square.
    """

    def __init__(self, width: int, reduction: float = 16, grid: tuple[int, int] | None = None) -> None:
        super().__init__(width, grid)
        self.channel = _ChannelGate(width, max(1, int(width / reduction + 0.5)))
        self.spatial = _SpatialGate()

    def pool_with_maps(self, tokens: Tensor) -> Pooled:
        """See `Pooling.pool_with_maps`; `attention` is the gate of positions [B, 1, h, w], `maps` its shares."""
        x = self._map(tokens)
        gated = x * self.channel(x)
        gate = self.spatial(gated)  # [B, 1, h, w]
        vector = F.relu(gated * gate + x).mean((2, 3))
        return Pooled(vector, _shares(gate), gate)


class _ChannelGate(nn.Module):
    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(width, hidden, 1, bias=False)
        self.fc2 = nn.Conv2d(hidden, width, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        means, peaks = x.mean((2, 3), keepdim=True), x.amax((2, 3), keepdim=True)  # [B, D, 1, 1] each
        return (self.fc2(F.relu(self.fc1(means))) + self.fc2(F.relu(self.fc1(peaks)))).sigmoid()


class _SpatialGate(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.ModuleDict({"conv": nn.Conv2d(2, 1, 7, padding=3, bias=False), "bn": nn.BatchNorm2d(1)})

    def forward(self, x: Tensor) -> Tensor:
        statistics = torch.cat([x.mean(1, keepdim=True), x.amax(1, keepdim=True)], 1)  # [B, 2, h, w]
        return self.conv["bn"](self.conv["conv"](statistics)).sigmoid()


class DolgPooling(_MapPooling):
    """Mean of score x direction (local branch of DOLG, Yang et al., arXiv 2108.02927, section 3.2).

    y = BN(W x); score = softplus(w relu(y)); the vector is the mean of score * y / |y|.

    Args:
        width: D.
        grid: rows and columns; None for a square.
    """

    def __init__(self, width: int, grid: tuple[int, int] | None = None) -> None:
        super().__init__(width, grid)
        self.conv1 = nn.Conv2d(width, width, 1)
        self.bn = nn.BatchNorm2d(width, eps=1e-5)
        self.conv2 = nn.Conv2d(width, 1, 1)

    def pool_with_maps(self, tokens: Tensor) -> Pooled:
        """See `Pooling.pool_with_maps`; `attention` is the score [B, 1, h, w], `maps` its shares."""
        y = self.bn(self.conv1(self._map(tokens)))  # [B, D, h, w]
        score = F.softplus(self.conv2(F.relu(y)))
        vector = (F.normalize(y, dim=1, eps=1e-12) * score).mean((2, 3))
        return Pooled(vector, _shares(score), score)


def _shares(gate: Tensor) -> Tensor:
    """[B, 1, h, w], positive, to [B, 1, N] that sums to 1."""
    flat = gate.flatten(2)
    return flat / flat.sum(-1, keepdim=True)
