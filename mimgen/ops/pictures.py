"""Several pictures side by side in one."""

from __future__ import annotations

import torch
from torch import Tensor


def tile(pictures: Tensor, columns: int | None = None) -> Tensor:
    """[n, 3, H, W] to one [3, rows * H, columns * W] picture, row by row, white where empty.

    Args:
        pictures: values in [0, 1].
        columns: pictures in a row; near square when None.
    """
    count, channels, height, width = pictures.shape
    columns = columns or max(1, round(count**0.5))
    rows = -(-count // columns)
    blank = pictures.new_ones(rows * columns - count, channels, height, width)
    grid = torch.cat([pictures, blank]).clamp(0, 1).view(rows, columns, channels, height, width)
    return grid.permute(2, 0, 3, 1, 4).reshape(channels, rows * height, columns * width)
