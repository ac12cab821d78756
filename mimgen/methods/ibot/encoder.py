"""iBOT's encoder: a ViT that shows masked patches as a learned embedding and sees crops of any size."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mimgen.encoders.vit import IMAGENET_MEAN, IMAGENET_STD, VitEncoder
from mimgen.errors import UserError
from mimgen.layers.masks import check_mask
from mimgen.layers.position import resize_position_table
from mimgen.types import Mask


class IbotVit(VitEncoder):
    """A `VitEncoder` with class token that sees the whole grid; masked patches are shown as `mask_token`.

    Args:
        image_size: side in pixels, or (rows, columns), that the position table is made for.
        patch: side of a patch in pixels.
        width: D.
        depth: number of blocks.
        heads: attention heads H.
        mlp_ratio: hidden width of the MLP over D.
        qkv_bias: whether the projection of queries, keys and values has a bias.
        layer_scale: start of a learned scale on both branches; None for none.
        drop_path: rate of the last block, rising linearly from 0.
        eps: of the layer norms.
        masks: has an embedding for masked patches, which starts as zeros; official teachers have none.
        margin: cells by which another grid counts as larger when the position table is resized; 0.1 in the
            official releases, whose small crops depend on it.
        channels: C of the images.
        mean: of the images' channels, subtracted first.
        std: of the images' channels, divided by.
    """

    def __init__(
        self,
        image_size: int | tuple[int, int] = 224,
        patch: int = 16,
        width: int = 384,
        depth: int = 12,
        heads: int = 6,
        mlp_ratio: float = 4.0,
        qkv_bias: bool = True,
        layer_scale: float | None = None,
        drop_path: float = 0.0,
        eps: float = 1e-6,
        masks: bool = True,
        margin: float = 0.0,
        channels: int = 3,
        mean: tuple[float, ...] = IMAGENET_MEAN,
        std: tuple[float, ...] = IMAGENET_STD,
    ) -> None:
        super().__init__(
            image_size, patch, width, depth, heads, mlp_ratio, qkv_bias, layer_scale, drop_path, eps,
            channels=channels, mean=mean, std=std,
        )  # fmt: skip
        self.margin = margin
        self.mask_token = nn.Parameter(torch.zeros(1, width)) if masks else None

    def embed(self, images: Tensor, mask: Mask | None = None) -> tuple[Tensor, tuple[int, int]]:
        """Images [B, C, H, W] in [0, 1] to tokens with positions [B, 1 + N, D], and the grid.

        Rows of the mask may cover different numbers of patches.

        Raises:
            UserError: a mask for an encoder without embedding of masked patches.
        """
        grid = self.patch_embed.grid(images)
        x = self.patch_embed((images.to(self.pos_embed.dtype) - self.mean) / self.std)
        if mask is not None:
            if self.mask_token is None:
                raise UserError("this encoder has no embedding of masked patches: build it with masks=True")
            check_mask(mask.masked, *x.shape[:2])
            x = torch.where(mask.masked.to(x.device)[..., None], self.mask_token.to(x.dtype), x)
        assert self.cls_token is not None, "built with one"
        x = torch.cat([self.cls_token.to(x.dtype).expand(len(x), -1, -1), x], dim=1)
        return x + resize_position_table(self.pos_embed, self.grid, grid, margin=self.margin), grid
