"""Patches shown as their tokenizer's rendering: visible, but without their detail (CCViT, section 3.2)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from mimgen.errors import UserError
from mimgen.types import Mask, SampleRNG


def choose_visible(mask: Mask, count: int, rng: SampleRNG) -> Tensor:
    """Choose `count` patches of each row that are not masked.

    Args:
        mask: of N patches.
        count: how many; at most as many as are visible.
        rng: one stream per row.

    Returns:
        [B, N] boolean on the device of the mask.

    Raises:
        UserError: fewer visible patches than `count`.
    """
    tokens = mask.masked.shape[1]
    visible = tokens - int(mask.masked.sum(1).max()) if len(mask.masked) else tokens
    if not 0 <= count <= visible:
        raise UserError(f"cannot replace {count} of {visible} visible patches: mask or replace fewer")
    keys = rng.uniform(tokens).to(mask.masked.device).masked_fill(mask.masked, 2)
    return keys.argsort(dim=1).argsort(dim=1) < count


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
