"""Sinusoids and small MLPs that turn scalars and pooled text into a conditioning vector."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


def sinusoid(values: Tensor, width: int = 256) -> Tensor:
    """[...] -> [..., width] float32: cosines then sines of value * 10000^(-k / (width / 2))."""
    half = width // 2
    # float32 on purpose: released models were trained with this rounding (values reach 1e6)
    exponents = -math.log(10000.0) * torch.arange(half, dtype=torch.float32, device=values.device) / half
    angles = values.float()[..., None] * exponents.exp()  # [..., width / 2]
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


class TwoLayer(nn.Module):
    """Linear, SiLU, Linear. [..., inputs] -> [..., width]."""

    def __init__(self, inputs: int, width: int, bias: bool = True) -> None:
        super().__init__()
        self.linear_1 = nn.Linear(inputs, width, bias=bias)
        self.linear_2 = nn.Linear(width, width, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear_2(nn.functional.silu(self.linear_1(x)))


class TimeTextEmbedding(nn.Module):
    """Sum of an embedded time step [B] and an embedded vector [B, inputs]. -> [B, width]."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.timestep_embedder = TwoLayer(256, width)
        self.text_embedder = TwoLayer(inputs, width)

    def forward(self, timestep: Tensor, vector: Tensor) -> Tensor:
        return self.timestep_embedder(sinusoid(timestep).to(vector.dtype)) + self.text_embedder(vector)
