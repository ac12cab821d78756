"""Rotary positions on a grid: half of a head's channels turn with the row, half with the column (CroCo v2)."""

from __future__ import annotations

import torch
from torch import Tensor

from mimgen.errors import UserError
from mimgen.layers.attention import attend
from mimgen.layers.blocks.vit import VitBlock

Rotation = tuple[Tensor, Tensor]  # cosines and sines, each [B or 1, T, head width]


def grid_positions(grid: tuple[int, int], device: torch.device | None = None) -> Tensor:
    """[N, 2] row and column of every patch of a grid, row-major."""
    rows, columns = (torch.arange(side, device=device) for side in grid)
    return torch.cartesian_prod(rows, columns)


def grid_rotation(positions: Tensor, head_width: int, base: float = 100.0) -> Rotation:
    """Cosines and sines of the angles position * base^(-2 k / (head_width / 2)).

    Args:
        positions: [..., T, 2] rows and columns.
        head_width: channels of a head, a multiple of 4.
        base: slowest wave length over 2 pi.

    Returns:
        Two float32 tables [..., T, head_width], for `turn`.

    Raises:
        UserError: a head that does not divide into rows and columns of pairs.
    """
    if head_width % 4:
        raise UserError(f"rotary positions need heads of a multiple of 4 channels, got {head_width}: change the heads")
    half = head_width // 2
    frequencies = base ** -(torch.arange(0, half, 2, dtype=torch.float64, device=positions.device) / half)
    angles = positions.double()[..., None] * frequencies  # [..., T, 2, head_width / 4]
    # a pair of channels lies half an axis apart, so each axis has its angles twice
    table = torch.cat([angles, angles], dim=-1).flatten(-2)
    return table.cos().float(), table.sin().float()


def turn(x: Tensor, rotation: Rotation) -> Tensor:
    """Turn the channels of x [B, T, H, d] by a rotation of its positions."""
    cos, sin = (table.unsqueeze(-2) for table in rotation)
    first, second = x.float().unflatten(-1, (2, 2, -1)).unbind(-2)  # [B, T, H, 2, d / 4] each
    turned = torch.stack([-second, first], dim=-2).flatten(-3)
    return (x.float() * cos + turned * sin).to(x.dtype)


class RotaryBlock(VitBlock):
    """A `VitBlock` whose queries and keys may be turned by their positions."""

    def forward(self, x: Tensor, rotation: Rotation | None = None) -> Tensor:
        """[B, T, D] -> [B, T, D]."""
        if rotation is None:
            return super().forward(x)
        q, k, v = self.attn.project(self.norm1(x))
        mixed = attend(turn(q, rotation), turn(k, rotation), v)
        return self._fed(x + self.drop_path(self.ls1(self.attn.proj(mixed.flatten(2)))))
