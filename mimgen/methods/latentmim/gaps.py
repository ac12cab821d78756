"""Patches cut out of cells that are a little larger, so that neighbours do not touch (LatentMIM, section 3.3)."""

from __future__ import annotations

import torch
from torch import Tensor


def without_gaps(images: Tensor, offsets: Tensor, patch: int, gap: int) -> Tensor:
    """Cut one patch out of each cell of patch + gap pixels and put the patches side by side.

    Args:
        images: [B, C, h (patch + gap), w (patch + gap)].
        offsets: [B, 2, h, w] int64 in 0..gap, row and column of the patch in its cell.
        patch: side of a patch in pixels.
        gap: pixels that a cell is larger a side; 0 gives the images as they are.

    Returns:
        [B, C, h patch, w patch].
    """
    if not gap:
        return images
    rows, columns = offsets.shape[-2:]
    inside = torch.arange(patch, device=images.device)
    starts = offsets.to(images.device).clone()
    starts[:, 0] += (patch + gap) * torch.arange(rows, device=images.device)[:, None]
    starts[:, 1] += (patch + gap) * torch.arange(columns, device=images.device)
    # [B, h, patch, w, patch]: rows and columns of every pixel that stays
    down = starts[:, 0][:, :, None, :, None] + inside[:, None, None]
    across = starts[:, 1][:, :, None, :, None] + inside
    image = torch.arange(len(images), device=images.device)[:, None, None, None, None]
    kept = images.permute(0, 2, 3, 1)[image, down, across]
    return kept.permute(0, 5, 1, 2, 3, 4).flatten(4, 5).flatten(2, 3).contiguous()
