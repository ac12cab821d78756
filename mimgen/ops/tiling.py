"""Several images side by side in one."""

from __future__ import annotations

import torch
from torch import Tensor


def tile(images: Tensor, columns: int | None = None) -> Tensor:
    """[n, 3, H, W] to one [3, rows * H, columns * W] image, row by row, white where empty.

    Args:
        images: values in [0, 1].
        columns: images in a row; near square when None.
    """
    count, channels, height, width = images.shape
    columns = columns or max(1, round(count**0.5))
    rows = -(-count // columns)
    blank = images.new_ones(rows * columns - count, channels, height, width)
    grid = torch.cat([images, blank]).clamp(0, 1).view(rows, columns, channels, height, width)
    return grid.permute(2, 0, 3, 1, 4).reshape(channels, rows * height, columns * width)
