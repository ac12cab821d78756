"""The vision transformer of BEiT and BEiT v2, as encoder and as the trunk of tokenizers and pretraining."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mimgen.encoders.contract import block_numbers
from mimgen.encoders.vit import IMAGENET_MEAN, IMAGENET_STD
from mimgen.errors import UserError
from mimgen.layers.attention import attention_maps, check_heads
from mimgen.layers.blocks.beit import BeitBlock, RelativePositionBias, initialise
from mimgen.layers.masks import check_mask
from mimgen.layers.patch_embed import image_grid, patch_grid
from mimgen.layers.position import resize_position_table
from mimgen.pretrained import PretrainedModule
from mimgen.types import Mask, Tokens

Relative = Literal["none", "shared", "block"]


class _PatchEmbed(nn.Module):
    """Non-overlapping patches through one convolution, under the official name `proj`."""

    def __init__(self, channels: int, width: int, patch: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(channels, width, patch, stride=patch)


class BeitEncoder(PretrainedModule):
    """Images to a class token and patch tokens; every patch is encoded, masked ones as a mask token.

    Args:
        pixels: side of the images (of the maps, for `states`).
        patch: side of a patch.
        width: D.
        depth: number of blocks.
        heads: attention heads.
        mlp_ratio: hidden width of the MLPs over D.
        layer_scale: start of the layer scale; None or 0 for none.
        absolute: learned absolute positions.
        relative: relative position bias: none, one table shared by all blocks, or one per block.
        qkv_bias: biases on q and v.
        mask_token: has a token for masked patches.
        norm: name of the closing norm in the checkpoint: "norm", "fc_norm" (official models that pool by
            mean) or "none".
        channels: of the maps; 3 for images.
        mean: of each channel, taken off images in [0, 1].
        std: by which they are then divided.
        eps: of the layer norms.

    Attributes:
        dim: width D of a token.
        depth: number of blocks.
        patch: pixels per side of a patch token.
    """

    def __init__(
        self,
        pixels: int = 224,
        patch: int = 16,
        width: int = 768,
        depth: int = 12,
        heads: int = 12,
        mlp_ratio: float = 4.0,
        layer_scale: float | None = None,
        absolute: bool = True,
        relative: Relative = "none",
        qkv_bias: bool = True,
        mask_token: bool = False,
        norm: Literal["norm", "fc_norm", "none"] = "norm",
        channels: int = 3,
        mean: tuple[float, ...] = IMAGENET_MEAN,
        std: tuple[float, ...] = IMAGENET_STD,
        eps: float = 1e-6,
    ) -> None:
        super().__init__()
        check_heads(width, heads)
        self.grid = patch_grid(pixels, patch)
        self.dim, self.depth, self.patch = width, depth, patch
        self.mean, self.std = mean, std
        self.patch_embed = _PatchEmbed(channels, width, patch)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.mask_token = nn.Parameter(torch.zeros(1, 1, width)) if mask_token else None
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + self.grid[0] * self.grid[1], width)) if absolute else None
        self.rel_pos_bias = RelativePositionBias(*self.grid, heads) if relative == "shared" else None
        self.fixed_grid = relative != "none"
        own = self.grid if relative == "block" else None
        self.blocks = nn.ModuleList(
            BeitBlock(width, heads, mlp_ratio=mlp_ratio, layer_scale=layer_scale, qkv_bias=qkv_bias,
                      grid=own, eps=eps)
            for _ in range(depth)
        )  # fmt: skip
        self.norm = nn.LayerNorm(width, eps=eps) if norm == "norm" else None
        self.fc_norm = nn.LayerNorm(width, eps=eps) if norm == "fc_norm" else None
        initialise(self)

    def forward(
        self,
        images: Tensor,
        mask: Mask | None = None,
        *,
        layers: Sequence[int] = (),
        attention: Sequence[int] = (),
        mix: Tensor | None = None,
    ) -> Tokens:
        """Encode images.

        Args:
            images: [B, 3, H, W] in [0, 1].
            mask: masked patches [B, N] are replaced by the mask token.
            layers: blocks, counted from 0 or negative from the end, whose patch tokens [B, N, D] are put into `levels`.
            attention: blocks, counted alike, whose maps [B, H, 1 + N, 1 + N] are returned as `attention`.
            mix: [B, N, N], multiplies the patch embeddings from the left, before class token and positions (ROPIM).

        Raises:
            UserError: sides that are no multiples of `patch`, or another grid than a relative bias has.
        """
        wanted, masked = block_numbers(attention, self.depth), None if mask is None else mask.masked
        # maps cost a second computation beside the fused kernel, so they are collected only where asked for
        collecting: AbstractContextManager[list[Tensor]] = attention_maps() if wanted else nullcontext([])
        with collecting as maps:
            x, levels = self.states(self.normalised(images), masked, layers, mix)
        x = self.closed(x)
        grid = (images.shape[-2] // self.patch, images.shape[-1] // self.patch)
        chosen_maps = tuple(maps[layer] for layer in wanted)
        return Tokens(x[:, 1:], grid, x[:, :1], tuple(level[:, 1:] for level in levels), chosen_maps)

    def normalised(self, images: Tensor) -> Tensor:
        """[B, C, H, W] in [0, 1] -> (images - mean) / std; a `UserError` for another number of channels."""
        if images.ndim != 4 or images.shape[1] != len(self.mean):
            raise UserError(
                f"this encoder takes images [B, {len(self.mean)}, H, W], got {list(images.shape)}: "
                "convert them to as many channels"
            )
        mean, std = (images.new_tensor(values)[:, None, None] for values in (self.mean, self.std))
        return (images - mean) / std

    def closed(self, x: Tensor) -> Tensor:
        """[B, T, D] through the closing norm, where there is one."""
        norm = self.norm or self.fc_norm
        return x if norm is None else norm(x)

    def states(
        self, maps: Tensor, masked: Tensor | None = None, layers: Sequence[int] = (), mix: Tensor | None = None
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Maps [B, C, H, W], already normalised, to tokens before the closing norm.

        Args:
            maps: what the patch embedding reads.
            masked: [B, N] boolean, patches replaced by the mask token.
            layers: blocks whose outputs are returned too, counted as above.
            mix: [B, N, N] or None, as above.

        Returns:
            [B, 1 + N, D], class token first, and one such tensor for each of `layers` in its order.

        Raises:
            UserError: sides or a grid that do not fit, or a layer that does not exist.
        """
        wanted, x = block_numbers(layers, self.depth), self._embedded(maps, masked, mix)
        bias, found = self.shared_bias(), {}
        for number, block in enumerate(self.blocks):
            x = block(x, bias)
            if number in wanted:
                found[number] = x
        return x, tuple(found[number] for number in wanted)

    def shared_bias(self) -> Tensor | None:
        """[H, 1 + N, 1 + N] of the table that all blocks share, where there is one."""
        return None if self.rel_pos_bias is None else self.rel_pos_bias.bias()

    def _embedded(self, maps: Tensor, masked: Tensor | None, mix: Tensor | None = None) -> Tensor:
        """Patch embeddings with class token and positions, [B, 1 + N, D]."""
        grid = self._grid_of(maps)
        projection = self.patch_embed.proj
        # The convolution as a matrix product; the weight keeps the official layout.
        x = F.pixel_unshuffle(maps, self.patch).flatten(2).transpose(1, 2)  # [B, N, C patch^2]
        x = F.linear(x, projection.weight.flatten(1), projection.bias)  # [B, N, D]
        if masked is not None:
            if self.mask_token is None:
                raise UserError("this encoder has no mask token: build it with mask_token=True, or pass no mask")
            check_mask(masked, *x.shape[:2])
            x = torch.where(masked[..., None], self.mask_token.to(x.dtype), x)
        x = x if mix is None else mix.to(x.dtype) @ x  # [B, N, D]
        x = torch.cat([self.cls_token.to(x.dtype).expand(len(x), -1, -1), x], dim=1)  # [B, 1 + N, D]
        if self.pos_embed is not None:
            x = x + resize_position_table(self.pos_embed, self.grid, grid)
        return x

    def _grid_of(self, maps: Tensor) -> tuple[int, int]:
        grid = image_grid(maps, self.patch, self.patch_embed.proj.in_channels)
        if self.fixed_grid and grid != self.grid:
            rows, columns = self.grid
            raise UserError(
                f"this encoder's relative positions are made for {rows} x {columns} patches, not "
                f"{grid[0]} x {grid[1]}: resize the images to {columns * self.patch} x {rows * self.patch}"
            )
        return grid
