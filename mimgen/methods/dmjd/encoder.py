"""ConViT: two stages of convolutions before a vision transformer, none of which sees masked patches (ConvMAE)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mimgen.encoders.contract import block_numbers, register_channel_stats
from mimgen.encoders.vit import IMAGENET_MEAN, IMAGENET_STD
from mimgen.errors import UserError
from mimgen.layers.blocks.conv import ConvBlock, Shrink
from mimgen.layers.blocks.vit import VitBlock
from mimgen.layers.init import init_sincos_pos_embed
from mimgen.layers.masks import check_mask
from mimgen.layers.patch_embed import image_grid, patch_grid
from mimgen.layers.position import resize_position_table
from mimgen.pretrained import PretrainedModule
from mimgen.types import Mask, Tokens


class ConvVitEncoder(PretrainedModule):
    """ConvMAE's encoder as DMJD trains it (arXiv 2205.03892, section 3; arXiv 2301.00230, section 3.3).

    With a mask the third stage runs on visible patches only, and neighbours see no masked place through the
    convolutions. The maps of the first two stages, brought to patches, are added before the last norm. There
    is no class token. Names are the official ones.

    Args:
        image_size: side in pixels, or (rows, columns), of the images that the position table is made for.
        patches: side by which each of the three stages shrinks; their product is the patch.
        widths: D of the stages.
        depths: blocks of the stages.
        heads: attention heads of the third stage.
        mlp_ratios: hidden widths of the MLPs over D.
        qkv_bias: whether the projection of queries, keys and values has a bias.
        eps: of the layer norms of the third stage and of the last.
        stem_eps: of those before it.
        channels: C of the images.
        mean: of each channel, taken off images in [0, 1].
        std: by which they are then divided.

    Attributes:
        dim: width of the third stage.
        depth: blocks of the third stage, which `layers` counts.
        patch: side in pixels of a token.

    Raises:
        UserError: other than three stages, or an image size that does not divide into patches.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        image_size: int | tuple[int, int] = 224,
        patches: tuple[int, int, int] = (4, 2, 2),
        widths: tuple[int, int, int] = (256, 384, 768),
        depths: tuple[int, int, int] = (2, 2, 11),
        heads: int = 12,
        mlp_ratios: tuple[float, float, float] = (4.0, 4.0, 4.0),
        qkv_bias: bool = True,
        eps: float = 1e-6,
        stem_eps: float = 1e-5,
        channels: int = 3,
        mean: tuple[float, ...] = IMAGENET_MEAN,
        std: tuple[float, ...] = IMAGENET_STD,
    ) -> None:
        super().__init__()
        if {len(patches), len(widths), len(depths), len(mlp_ratios)} != {3}:
            raise UserError(f"patches {patches}, widths {widths}, depths {depths}: give one for each of three stages")
        self.dim, self.depth, self.patch = widths[2], depths[2], math.prod(patches)
        self.patches, self.prefix, self.channels = patches, 0, channels
        self.grid = patch_grid(image_size, self.patch)
        self.patch_embed1 = Shrink(channels, widths[0], patches[0], stem_eps)
        self.patch_embed2 = Shrink(widths[0], widths[1], patches[1], stem_eps)
        self.patch_embed3 = Shrink(widths[1], widths[2], patches[2], stem_eps)
        self.patch_embed4 = nn.Linear(widths[2], widths[2])
        self.stage1_output_decode = nn.Conv2d(widths[0], widths[2], patches[1] * patches[2], patches[1] * patches[2])
        self.stage2_output_decode = nn.Conv2d(widths[1], widths[2], patches[2], patches[2])
        self.pos_embed = nn.Parameter(torch.zeros(1, self.grid[0] * self.grid[1], self.dim))
        self.blocks1, self.blocks2 = (
            nn.ModuleList(ConvBlock(widths[stage], mlp_ratios[stage], stem_eps) for _ in range(depths[stage]))
            for stage in (0, 1)
        )
        self.blocks3 = nn.ModuleList(
            VitBlock(self.dim, heads, mlp_ratio=mlp_ratios[2], eps=eps, qkv_bias=qkv_bias) for _ in range(depths[2])
        )
        self.norm = nn.LayerNorm(self.dim, eps)
        register_channel_stats(self, mean, std, channels)
        self._init_weights()

    def _init_weights(self) -> None:
        """Initial weights of ConvMAE: Xavier uniform for matrices and shrinking kernels, fixed positions."""
        for part in self.modules():
            if isinstance(part, nn.Linear):
                nn.init.xavier_uniform_(part.weight)
                if part.bias is not None:
                    nn.init.zeros_(part.bias)
            elif isinstance(part, Shrink):
                nn.init.xavier_uniform_(part.proj.weight.data.flatten(1))
        init_sincos_pos_embed(self.pos_embed, self.grid)

    def forward(
        self,
        images: Tensor,
        mask: Mask | None = None,
        *,
        layers: Sequence[int] = (),
        attention: Sequence[int] = (),
    ) -> Tokens:
        """Images to tokens.

        Args:
            images: [B, C, H, W] in [0, 1], sides multiples of `patch`.
            mask: of the patches; masked ones are left out and influence nothing.
            layers: blocks of the third stage, counted from 0, negative from the end, whose tokens are returned
                as `levels`, before the maps of the first stages are added.
            attention: blocks of the third stage whose attention maps [B, H, K, K] are returned.

        Raises:
            UserError: images that do not fit, or a layer that does not exist.
        """
        wanted, mapped = (block_numbers(requested, self.depth) for requested in (layers, attention))
        x, added, grid = self._embed(images, mask)
        levels, maps = {}, {}
        for number, block in enumerate(self.blocks3):
            assert isinstance(block, VitBlock)
            if number in mapped:
                maps[number] = block.attn.maps(block.norm1(x))
            x = block(x)
            if number in wanted:
                levels[number] = x
        x = self.norm(x + added)
        return Tokens(x, grid, x[:, :0], tuple(levels[n] for n in wanted), tuple(maps[n] for n in mapped))

    def _embed(self, images: Tensor, mask: Mask | None) -> tuple[Tensor, Tensor, tuple[int, int]]:
        """Tokens of visible patches with positions [B, K, D], what the first stages add to them, and the grid."""
        grid = image_grid(images, self.patch, self.channels)
        if mask is not None:
            check_mask(mask.masked, len(images), grid[0] * grid[1])
        seen = None if mask is None else (~mask.masked).to(images.device, self.dtype).unflatten(1, grid)[:, None]
        x = self.patch_embed1((images.to(self.dtype) - self.mean) / self.std)
        x = _through(self.blocks1, x, seen, self.patches[1] * self.patches[2])
        first = self.stage1_output_decode(x)
        x = _through(self.blocks2, self.patch_embed2(x), seen, self.patches[2])
        maps = (self.patch_embed3(x), first + self.stage2_output_decode(x))
        x, added = (tokens.flatten(2).transpose(1, 2) for tokens in maps)
        x = self.patch_embed4(x) + resize_position_table(self.pos_embed, self.grid, grid)
        if mask is None:
            return x, added, grid
        keep = mask.keep.to(x.device)[..., None].expand(-1, -1, self.dim)
        return x.gather(1, keep), added.gather(1, keep), grid


def _through(blocks: nn.ModuleList, x: Tensor, seen: Tensor | None, side: int) -> Tensor:
    """The map [B, D, h, w] through a stage; `seen` [B, 1, h / side, w / side] is 1 at visible patches."""
    visible = None if seen is None else seen.repeat_interleave(side, 2).repeat_interleave(side, 3)
    for block in blocks:
        x = block(x, visible)
    return x
