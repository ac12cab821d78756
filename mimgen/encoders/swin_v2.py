"""Swin v2: cosine attention and norms at the end of branches, which keep very large models stable."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mimgen.encoders.swin import WindowEncoder
from mimgen.encoders.vit import IMAGENET_MEAN, IMAGENET_STD
from mimgen.errors import UserError
from mimgen.layers.blocks.swin_v2 import PatchMergingV2, SwinV2Block
from mimgen.layers.patch_embed import patch_grid
from mimgen.layers.position import resize_position_table
from mimgen.types import Mask


class SwinV2Encoder(WindowEncoder):
    """Swin v2 (Liu et al., 2022, arXiv 2111.09883) with the mask token of SimMIM (arXiv 2111.09886, section 3.3).

    The mask token replaces masked patches of the first grid, so the grid is always complete. Names are
    those of the first release, apart from `patch_norm`.

    Args:
        image_size: side in pixels, or (rows, columns), of the images that windows and positions are made for;
            a stage whose grid is smaller than `window` has windows of the grid's shorter side.
        embed_patch: side in pixels of the patches of the first grid, the one that is masked.
        width: D of the first stage; each stage doubles it.
        depths: blocks of each stage.
        heads: attention heads of each stage.
        window: side of a window in tokens.
        mlp_ratio: hidden width of the MLPs over D.
        qkv_bias: whether queries and values have a bias.
        drop_path: rate of the last block, rising linearly from 0.
        eps: of the layer norms.
        extra_norms: blocks, counted from 0 over all stages, that have one more norm; see `every`.
        positions: add a learned table of positions.
        patch_norm: a norm after the patches' embedding.
        pretrained_windows: for each stage the window that it was trained with before; () for `window`.
        channels: C of the images.
        mean: of each channel, taken off images in [0, 1].
        std: by which they are then divided.

    Attributes:
        dim: width of the output.
        depth: blocks of all stages together.
        patch: side in pixels of an output token.

    Raises:
        UserError: depths, heads and pretrained windows of other numbers of stages, or a size without whole patches.
    """

    def __init__(
        self,
        image_size: int | tuple[int, int] = 128,
        embed_patch: int = 4,
        width: int = 128,
        depths: tuple[int, ...] = (2, 2, 18, 2),
        heads: tuple[int, ...] = (4, 8, 16, 32),
        window: int = 8,
        mlp_ratio: float = 4.0,
        qkv_bias: bool = True,
        drop_path: float = 0.0,
        eps: float = 1e-5,
        extra_norms: tuple[int, ...] = (),
        positions: bool = False,
        patch_norm: bool = True,
        pretrained_windows: tuple[int, ...] = (),
        channels: int = 3,
        mean: tuple[float, ...] = IMAGENET_MEAN,
        std: tuple[float, ...] = IMAGENET_STD,
    ) -> None:
        super().__init__()
        self._open(embed_patch, width, depths, heads, eps, mean, std, channels)
        if len(pretrained_windows) not in (0, len(depths)):
            raise UserError(f"pretrained_windows {pretrained_windows}: give one for each of {len(depths)} stages")
        self.grid = patch_grid(image_size, embed_patch)
        if not patch_norm:
            self.patch_norm = nn.Identity()
        self.absolute_pos_embed = (
            nn.Parameter(torch.zeros(1, self.grid[0] * self.grid[1], width)) if positions else None
        )
        rates, number, side = torch.linspace(0, drop_path, self.depth).tolist(), 0, min(self.grid)
        for stage, (depth, count) in enumerate(zip(depths, heads, strict=True)):
            blocks = nn.ModuleList()
            for index in range(depth):
                blocks.append(
                    SwinV2Block(
                        width * 2**stage, count, min(window, side), index % 2 == 1, mlp_ratio=mlp_ratio,
                        qkv_bias=qkv_bias, drop_path=rates[number], eps=eps, extra_norm=number in extra_norms,
                        pretrained_window=pretrained_windows[stage] if pretrained_windows else 0,
                    )
                )  # fmt: skip
                number += 1
            down = PatchMergingV2(width * 2**stage, eps) if stage + 1 < len(depths) else nn.Identity()
            self.layers.append(nn.ModuleDict({"blocks": blocks, "downsample": down}))
            side = (side + 1) // 2
        self._init_weights()

    def _init_weights(self) -> None:
        """Initial weights of Swin v2: as Swin's, and branches that start at zero."""
        super()._init_weights()
        for block in self.modules():
            if isinstance(block, SwinV2Block):
                for norm in (block.norm1, block.norm2):
                    nn.init.zeros_(norm.weight)
        if self.absolute_pos_embed is not None:
            nn.init.trunc_normal_(self.absolute_pos_embed, std=0.02)

    def embed(self, images: Tensor, mask: Mask | None = None) -> Tensor:
        """Images [B, C, H, W] in [0, 1] to tokens [B, h, w, D] of the first grid.

        Raises:
            UserError: images that do not divide into patches, or a mask of another grid.
        """
        x = super().embed(images, mask)
        if self.absolute_pos_embed is None:
            return x
        grid = (x.shape[1], x.shape[2])
        return x + resize_position_table(self.absolute_pos_embed, self.grid, grid).unflatten(1, grid)


def every(period: int, depths: tuple[int, ...]) -> tuple[int, ...]:
    """The last of every `period` blocks of each stage, as numbers over all stages; () where `period` is 0."""
    if not period:
        return ()
    starts = [sum(depths[:stage]) for stage in range(len(depths))]
    return tuple(
        start + index for start, depth in zip(starts, depths, strict=True) for index in range(period - 1, depth, period)
    )
