"""A ViT that sees the whole grid and is told by an added token which patches are masked (A2MIM)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mimgen.encoders.vit import VitEncoder
from mimgen.layers.masks import check_mask
from mimgen.types import Mask


class ResidualTokenVit(VitEncoder):
    """A `VitEncoder` that adds a learned token to masked patches after their embedding (A2MIM, section 4.2).

    Unlike a token in their place, it leaves what the patches show: pixels that were filled beforehand. Without
    a mask it works like a `VitEncoder`, whose arguments these are.

    Attributes:
        mask_patch: side in pixels of the cells that are masked.
    """

    def _init_weights(self) -> None:
        super()._init_weights()
        self.mask_patch = self.patch
        self.mask_token = nn.Parameter(torch.empty(1, 1, self.dim))
        nn.init.trunc_normal_(self.mask_token, std=0.02)

    def embed(self, images: Tensor, mask: Mask | None = None) -> tuple[Tensor, tuple[int, int]]:
        """Images [B, C, H, W] in [0, 1] to tokens with positions [B, P + N, D], and the grid."""
        x, grid = super().embed(images)
        if mask is None:
            return x, grid
        check_mask(mask.masked, len(x), x.shape[1] - self.prefix)
        added = self.mask_token * mask.masked.to(x.device)[..., None]
        return torch.cat([x[:, : self.prefix], x[:, self.prefix :] + added], dim=1), grid
