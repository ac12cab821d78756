"""Fixed and resizable position tables of image tokens."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from mimgen.errors import UserError


def sincos_1d(dim: int, positions: Tensor) -> Tensor:
    """Sines, then cosines, of `positions` at frequencies 10000^(-k / (dim / 2)).

    Args:
        dim: even width.
        positions: [N] of any real type.

    Returns:
        [N, dim] float64.
    """
    frequencies = 10000.0 ** -(torch.arange(dim // 2, dtype=torch.float64) / (dim / 2))
    angles = positions.double()[:, None] * frequencies
    return torch.cat([angles.sin(), angles.cos()], dim=1)


def sincos_2d(dim: int, h: int, w: int) -> Tensor:
    """The fixed 2-D sine-cosine table of MAE: half of the channels for the column, then half for the row.

    Args:
        dim: width D, a multiple of 4.
        h: rows of the grid.
        w: columns of the grid.

    Returns:
        [N, D] float32, row-major, computed in float64.
    """
    if dim % 4:
        raise UserError(f"position width {dim} must be a multiple of 4")
    rows, columns = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
    halves = [sincos_1d(dim // 2, columns.flatten()), sincos_1d(dim // 2, rows.flatten())]
    return torch.cat(halves, dim=1).float()


def resize_position_table(
    table: Tensor, old: tuple[int, int], new: tuple[int, int], *, margin: float = 0.0
) -> Tensor:
    """Resize a learned table to another grid, bicubic without aligned corners.

    Args:
        table: [1, P + N, D] with P prefix entries (class token, registers), which are copied.
        old: rows and columns of the N entries.
        new: rows and columns wanted.
        margin: cells by which the new grid counts as larger when positions are computed. 0 keeps both grids'
            edges together; the releases of DINO and iBOT were trained with 0.1.

    Returns:
        [1, P + new rows * new columns, D].
    """
    prefix = table.shape[1] - old[0] * old[1]
    if prefix < 0:
        raise UserError(f"a position table of {table.shape[1]} entries is too short for the grid {old}")
    if old == new:
        return table
    grid = table[:, prefix:].unflatten(1, old).permute(0, 3, 1, 2)  # [1, D, rows, columns]
    if margin:
        # a factor and not a size: positions follow the factor, which the margin changes, the size stays as wanted
        scale = [(cells + margin) / before for cells, before in zip(new, old, strict=True)]
        resized = functional.interpolate(grid, scale_factor=scale, mode="bicubic", align_corners=False)
    else:
        resized = functional.interpolate(grid, size=new, mode="bicubic", align_corners=False)
    return torch.cat([table[:, :prefix], resized.flatten(2).transpose(1, 2)], dim=1)
