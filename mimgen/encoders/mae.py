"""The encoders of MAE and of SimMIM on plain transformers: a ViT with fixed positions, and one with a mask token."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from mimgen.encoders.vit import VitEncoder
from mimgen.layers.masks import check_mask
from mimgen.layers.patch_embed import PatchEmbed
from mimgen.layers.position import resize_position_table, sincos_2d
from mimgen.types import Mask


def mae_vit(**options: Any) -> VitEncoder:
    """A fresh `VitEncoder` as MAE starts it: fixed sine-cosine positions, Xavier-uniform weights.

    Masked patches are left out of a `VitEncoder`, so it is MAE's encoder as it is.

    Args:
        options: of `VitEncoder`.
    """
    encoder = VitEncoder(**options)
    init_weights(encoder)
    init_sincos_pos_embed(encoder.pos_embed, encoder.grid)
    return encoder


def init_weights(module: nn.Module) -> None:
    """Initial weights of MAE: Xavier uniform for matrices and the patch kernel, normal 0.02 for tokens.

    The kernel counts as the matrix from a patch to its token. Biases are zero.
    """
    for part in module.modules():
        if isinstance(part, nn.Linear):
            nn.init.xavier_uniform_(part.weight)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
        elif isinstance(part, PatchEmbed):
            nn.init.xavier_uniform_(part.proj.weight.data.flatten(1))
    for name, parameter in module.named_parameters(recurse=False):
        if name.endswith("_token"):
            nn.init.normal_(parameter, std=0.02)


@torch.no_grad()
def init_sincos_pos_embed(table: nn.Parameter, grid: tuple[int, int]) -> None:
    """Fill a position table [1, P + N, D] with sines and cosines, zeros for the P prefix tokens, and freeze it."""
    prefix = table.shape[1] - grid[0] * grid[1]
    table[:, :prefix] = 0
    table[0, prefix:] = sincos_2d(table.shape[-1], *grid)
    table.requires_grad_(False)


class MaskTokenVit(VitEncoder):
    """A `VitEncoder` that sees the whole grid: masked patches are shown as a learned token (SimMIM, section 3.3).

    Without a mask it works like a `VitEncoder`, whose arguments these are.
    """

    def _init_weights(self) -> None:
        super()._init_weights()
        self.mask_token = nn.Parameter(torch.empty(1, 1, self.dim))
        nn.init.trunc_normal_(self.mask_token, std=0.02)

    def embed(self, images: Tensor, mask: Mask | None = None) -> tuple[Tensor, tuple[int, int]]:
        """Images [B, C, H, W] in [0, 1] to tokens with positions [B, P + N, D], and the grid."""
        x, grid = super().embed(images)
        if mask is None:
            return x, grid
        check_mask(mask.masked, len(x), x.shape[1] - self.prefix)
        table = resize_position_table(self.pos_embed, self.grid, grid)[:, self.prefix :]
        masked = mask.masked.to(x.device)[..., None]
        filled = torch.where(masked, self.mask_token + table, x[:, self.prefix :])
        return torch.cat([x[:, : self.prefix], filled], dim=1), grid
