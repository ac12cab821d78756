"""Images put together: several side by side, or patches of one in another."""

from __future__ import annotations

import torch
import torch.nn.functional as F
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


def paste(images: Tensor, replacement: Tensor, chosen: Tensor, patch: int) -> Tensor:
    """Take the chosen patches from `replacement` and the rest from `images`.

    Args:
        images: [B, 3, H, W].
        replacement: [B, 3, H, W], for example what a tokenizer decodes.
        chosen: [B, N] boolean, row-major.
        patch: side of a patch in pixels.

    Returns:
        [B, 3, H, W].
    """
    grid = (images.shape[-2] // patch, images.shape[-1] // patch)
    where = F.interpolate(chosen.unflatten(1, grid)[:, None].float(), scale_factor=float(patch)) > 0.5
    return torch.where(where, replacement, images)
