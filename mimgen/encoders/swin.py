"""Swin transformer: attention in windows, four times fewer and twice as wide tokens from stage to stage."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mimgen.encoders.contract import block_numbers, register_channel_stats
from mimgen.encoders.vit import IMAGENET_MEAN, IMAGENET_STD
from mimgen.errors import UserError
from mimgen.layers.blocks.swin import PatchMerging, SwinBlock
from mimgen.layers.blocks.vit import init_linears
from mimgen.layers.patch_embed import PatchEmbed
from mimgen.pretrained import PretrainedModule
from mimgen.types import Mask, Tokens


class WindowEncoder(PretrainedModule):
    """What Swin and its successor have in common: stages of blocks in `layers`, and SimMIM's mask token.

    Subclasses build the parts; see `SwinEncoder`.
    """

    mean: Tensor
    std: Tensor
    dim: int
    depth: int
    patch: int
    patch_embed: PatchEmbed
    patch_norm: nn.Module
    mask_token: nn.Parameter
    layers: nn.ModuleList
    norm: nn.LayerNorm

    def _open(
        self,
        embed_patch: int,
        width: int,
        depths: tuple[int, ...],
        heads: tuple[int, ...],
        eps: float,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        channels: int,
    ) -> None:
        """The parts before and after the stages, and the attributes.

        Raises:
            UserError: as many depths as heads are needed, and as many means as channels.
        """
        if len(depths) != len(heads) or not depths:
            raise UserError(f"depths {depths} and heads {heads} must name the same stages, at least one")
        self.dim, self.depth = width * 2 ** (len(depths) - 1), sum(depths)
        self.patch = embed_patch * 2 ** (len(depths) - 1)  # every stage but the last halves the grid
        self.patch_embed = PatchEmbed(embed_patch, width, channels)
        self.patch_norm = nn.LayerNorm(width, eps)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, width))
        self.layers = nn.ModuleList()
        self.norm = nn.LayerNorm(self.dim, eps)
        register_channel_stats(self, mean, std, channels)

    def _init_weights(self) -> None:
        """Initial weights of Swin: truncated normal 0.02, zero biases."""
        init_linears(self)
        nn.init.trunc_normal_(self.mask_token, std=0.02)

    def embed(self, images: Tensor, mask: Mask | None = None) -> Tensor:
        """Images [B, C, H, W] in [0, 1] to tokens [B, h, w, D] of the first grid.

        Raises:
            UserError: images that do not divide into patches, or a mask of another grid.
        """
        grid = self.patch_embed.grid(images)
        x = self.patch_norm(self.patch_embed((images.to(self.dtype) - self.mean) / self.std))
        if mask is not None:
            if mask.masked.shape[1] != x.shape[1]:
                raise UserError(
                    f"the mask is of {mask.masked.shape[1]} patches, the first grid has {x.shape[1]}: mask patches of "
                    f"{self.patch_embed.patch} pixels"
                )
            x = torch.where(mask.masked.to(x.device)[..., None], self.mask_token, x)  # [B, N, D]
        return x.unflatten(1, grid)

    def forward(self, images: Tensor, mask: Mask | None = None, *, layers: Sequence[int] = ()) -> Tokens:
        """Images to tokens of the last grid.

        Args:
            images: [B, C, H, W] in [0, 1], sides multiples of `embed_patch`.
            mask: of the first grid; masked patches are replaced by the mask token.
            layers: blocks, counted from 0 over all stages or negative from the end, whose tokens are returned as
                `levels`, each with the width and the number of tokens of its stage, before the last norm.

        Raises:
            UserError: images or a mask that do not fit, or a layer that does not exist.
        """
        wanted = block_numbers(layers, self.depth)
        x, levels, number = self.embed(images, mask), {}, 0
        for stage in self.layers:
            assert isinstance(stage, nn.ModuleDict)
            for block in stage["blocks"]:  # type: ignore[attr-defined]
                x = block(x)
                if number in wanted:
                    levels[number] = x.flatten(1, 2)  # [B, h w, D of the stage]
                number += 1
            x = stage["downsample"](x)
        grid = (x.shape[1], x.shape[2])
        patches = self.norm(x.flatten(1, 2))  # [B, N, dim]
        return Tokens(patches, grid, patches[:, :0], tuple(levels[layer] for layer in wanted))


class SwinEncoder(WindowEncoder):
    """Swin (Liu et al., 2021, arXiv 2103.14030) with the mask token of SimMIM (arXiv 2111.09886, section 3.3).

    The mask token replaces masked patches of the first grid, so the grid is always complete. Names
    are those of the first release, apart from the order of inputs of `PatchMerging`.

    Args:
        embed_patch: side in pixels of the patches of the first grid, the one that is masked.
        width: D of the first stage; each stage doubles it.
        depths: blocks of each stage.
        heads: attention heads of each stage.
        window: side of a window in tokens.
        mlp_ratio: hidden width of the MLPs over D.
        qkv_bias: whether projections of queries, keys and values have a bias.
        drop_path: rate of the last block, rising linearly from 0.
        eps: of the layer norms.
        channels: C of the images.
        mean: of each channel, taken off images in [0, 1].
        std: by which they are then divided.

    Attributes:
        dim: width of the output.
        depth: blocks of all stages together.
        patch: side in pixels of an output token.

    Raises:
        UserError: as many depths as heads are needed.
    """

    def __init__(
        self,
        embed_patch: int = 4,
        width: int = 128,
        depths: tuple[int, ...] = (2, 2, 18, 2),
        heads: tuple[int, ...] = (4, 8, 16, 32),
        window: int = 6,
        mlp_ratio: float = 4.0,
        qkv_bias: bool = True,
        drop_path: float = 0.0,
        eps: float = 1e-5,
        channels: int = 3,
        mean: tuple[float, ...] = IMAGENET_MEAN,
        std: tuple[float, ...] = IMAGENET_STD,
    ) -> None:
        super().__init__()
        self._open(embed_patch, width, depths, heads, eps, mean, std, channels)
        rates = iter(torch.linspace(0, drop_path, self.depth).tolist())
        for stage, (depth, count) in enumerate(zip(depths, heads, strict=True)):
            blocks = [
                SwinBlock(width * 2**stage, count, window, index % 2 == 1, mlp_ratio=mlp_ratio, qkv_bias=qkv_bias,
                          drop_path=next(rates), eps=eps)
                for index in range(depth)
            ]  # fmt: skip
            down = PatchMerging(width * 2**stage, eps) if stage + 1 < len(depths) else nn.Identity()
            self.layers.append(nn.ModuleDict({"blocks": nn.ModuleList(blocks), "downsample": down}))
        self._init_weights()
