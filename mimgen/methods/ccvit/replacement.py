"""Patches shown as their tokenizer's rendering: visible, but without their detail (CCViT, section 3.2)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from mimgen.errors import UserError
from mimgen.types import Draws, Mask


def choose_visible(mask: Mask, count: int, draws: Draws) -> Tensor:
    """Choose `count` patches of each row that are not hidden.

    Args:
        mask: of N patches.
        count: how many; at most as many as are visible.
        draws: one stream a row.

    Returns:
        [B, N] boolean on the device of the mask.

    Raises:
        UserError: fewer visible patches than `count`.
    """
    tokens = mask.hidden.shape[1]
    visible = tokens - int(mask.hidden.sum(1).max()) if len(mask.hidden) else tokens
    if not 0 <= count <= visible:
        raise UserError(f"cannot replace {count} of {visible} visible patches: hide or replace fewer")
    keys = draws.uniform(tokens).to(mask.hidden.device).masked_fill(mask.hidden, 2)
    return keys.argsort(dim=1).argsort(dim=1) < count


def paste(images: Tensor, pictures: Tensor, chosen: Tensor, patch: int) -> Tensor:
    """Take the chosen patches from `pictures` and the rest from `images`.

    Args:
        images: [B, 3, H, W].
        pictures: [B, 3, H, W], for example what a tokenizer decodes.
        chosen: [B, N] boolean, row-major.
        patch: side of a patch in pixels.

    Returns:
        [B, 3, H, W].
    """
    grid = (images.shape[-2] // patch, images.shape[-1] // patch)
    where = F.interpolate(chosen.unflatten(1, grid)[:, None].float(), scale_factor=float(patch)) > 0.5
    return torch.where(where, pictures, images)
