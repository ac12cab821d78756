"""Rotary positions over several axes (Su et al., 2021; the multi-axis form of Flux and Meissonic)."""

from __future__ import annotations

import torch
from torch import Tensor


def axis_widths(head_width: int) -> tuple[int, int, int]:
    """Channels of the (text, row, column) axes in the proportion 1 : 3.5 : 3.5 of Meissonic, all even."""
    if head_width % 4:
        raise ValueError(f"rotary heads need a width divisible by 4, got {head_width}")
    rows = (head_width * 7 // 16) // 2 * 2
    return head_width - 2 * rows, rows, rows


def grid_ids(height: int, width: int, device: torch.device | None = None) -> Tensor:
    """[h * w, 3] float ids (0, row, column), row-major."""
    ids = torch.zeros(height, width, 3, device=device)  # the text axis stays 0 for all image tokens
    ids[..., 1] = torch.arange(height, device=device)[:, None]
    ids[..., 2] = torch.arange(width, device=device)[None]
    return ids.reshape(-1, 3)


def rotary_table(ids: Tensor, widths: tuple[int, ...], base: float = 10000.0) -> tuple[Tensor, Tensor]:
    """Cosines and sines for each token.

    Args:
        ids: [T, A] positions on A axes.
        widths: channels of each axis; their sum is the head width D.
        base: of the frequencies; the longest wavelength is nearly 2 pi base positions.

    Returns:
        Two [T, D] float32 tables; frequencies are computed in float64.
    """
    angles = []
    for axis, width in enumerate(widths):
        frequencies = base ** -(torch.arange(0, width, 2, dtype=torch.float64, device=ids.device) / width)
        angles.append(torch.outer(ids[:, axis].double(), frequencies).repeat_interleave(2, dim=1))
    table = torch.cat(angles, dim=1)
    return table.cos().float(), table.sin().float()


def rotate(x: Tensor, table: tuple[Tensor, Tensor]) -> Tensor:
    """Rotate adjacent channel pairs of x [B, T, H, D] by the angles of `table`: two [T, D], or [B, T, D] by row."""
    cos, sin = (t.unsqueeze(-2) for t in table)
    pairs = x.float().unflatten(-1, (-1, 2))  # [B, T, H, D / 2, 2]
    turned = torch.stack([-pairs[..., 1], pairs[..., 0]], dim=-1).flatten(-2)  # each pair by 90 degrees
    return (x.float() * cos + turned * sin).to(x.dtype)
