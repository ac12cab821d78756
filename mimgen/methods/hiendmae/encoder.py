"""A vision transformer for volumes, and for images: cells of any number of dimensions are its patches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mimgen.encoders.contract import block_numbers
from mimgen.errors import UserError
from mimgen.layers.blocks.vit import VitBlock
from mimgen.layers.init import init_weights
from mimgen.layers.masks import check_mask
from mimgen.layers.position import sincos_1d
from mimgen.methods.hiendmae.cells import cells_of, cut
from mimgen.pretrained import PretrainedModule
from mimgen.types import Mask, Tokens


@dataclass(frozen=True)
class VolumeTokens(Tokens):
    """`Tokens` of a volume; `grid` is (first side, product of the others), so that it counts all cells.

    Attributes:
        cells: cells along each side.
        memories: all tokens [B, 1 + K, D], class token first, after each of the layers asked for.
    """

    cells: tuple[int, ...] = ()
    memories: tuple[Tensor, ...] = ()


class VolumeVit(PretrainedModule):
    """Visible cells and a class token through plain blocks (Hi-End-MAE, arXiv 2502.08347).

    Args:
        image_size: sides of the volumes, three of them; two for images.
        patch: side of a cell, or its sides.
        width: D.
        depth: number of blocks.
        heads: attention heads H.
        mlp_ratio: hidden width of the MLPs over D.
        qkv_bias: whether the projection of queries, keys and values has a bias.
        positions: "fixed" sines and cosines, or "learned".
        drop_path: rate of the last block, rising linearly from 0.
        eps: of the layer norms.
        channels: C of the volumes.
        mean: of each channel, subtracted first; 0 when None.
        std: of each channel, divided by; 1 when None.

    Attributes:
        dim: width D of a token.
        depth: number of blocks.
        patch: first side of a cell.
        cell: all its sides.

    Raises:
        UserError: sides that do not divide into cells, or numbers that do not fit each other.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        image_size: tuple[int, ...] = (96, 96, 96),
        patch: int | tuple[int, ...] = 12,
        width: int = 768,
        depth: int = 12,
        heads: int = 12,
        mlp_ratio: float = 4.0,
        qkv_bias: bool = True,
        positions: Literal["fixed", "learned"] = "fixed",
        drop_path: float = 0.0,
        eps: float = 1e-6,
        channels: int = 1,
        mean: tuple[float, ...] | None = None,
        std: tuple[float, ...] | None = None,
    ) -> None:
        super().__init__()
        if len(image_size) not in (2, 3):
            raise UserError(f"image_size {image_size}: give the 3 sides of volumes, or the 2 of images")
        mean, std = mean or (0.0,) * channels, std or (1.0,) * channels
        if len(mean) != channels or len(std) != channels:
            raise UserError(f"mean {mean} and std {std} need one number for each of {channels} channels")
        self.cell = (patch,) * len(image_size) if isinstance(patch, int) else tuple(patch)
        self.cells = cells_of(image_size, self.cell)
        self.dim, self.depth, self.patch = width, depth, self.cell[0]
        convolution = nn.Conv3d if len(image_size) == 3 else nn.Conv2d
        self.patch_embed = nn.ModuleDict({"proj": convolution(channels, width, self.cell, self.cell)})  # type: ignore[arg-type]
        self.cls_token = nn.Parameter(torch.empty(1, 1, width))
        self.pos_embed = position_table(width, self.cells, positions)
        rates = torch.linspace(0, drop_path, depth).tolist()
        self.blocks = nn.ModuleList(
            VitBlock(width, heads, mlp_ratio=mlp_ratio, qkv_bias=qkv_bias, drop_path=rate, eps=eps) for rate in rates
        )
        self.norm = nn.LayerNorm(width, eps)
        shape = (-1, *[1] * len(image_size))
        self.register_buffer("mean", torch.tensor(mean).view(shape), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(shape), persistent=False)
        init_weights(self)
        nn.init.xavier_uniform_(self._kernel.data.flatten(1))

    @property
    def _kernel(self) -> Tensor:
        return self.patch_embed["proj"].weight  # type: ignore[return-value]

    def embed(self, volumes: Tensor, mask: Mask | None = None) -> Tensor:
        """Volumes [B, C, S1, ..., Sn] to the class token and visible cells with positions, [B, 1 + K, D].

        Raises:
            UserError: volumes of other sides or channels than the encoder was made for.
        """
        sides = tuple(count * part for count, part in zip(self.cells, self.cell, strict=True))
        channels = self._kernel.shape[1]
        if tuple(volumes.shape[1:]) != (channels, *sides):
            raise UserError(
                f"this encoder takes [B, {channels}, {', '.join(map(str, sides))}], got {list(volumes.shape)}: crop "
                "or resize to these sides"
            )
        table: Tensor = self.pos_embed
        # cells are cut before they are embedded, so that masked ones cost nothing
        x = cut((volumes.to(self.dtype) - self.mean) / self.std, self.cell, last=False)
        if mask is not None:
            check_mask(mask.masked, *x.shape[:2])
            keep = mask.keep.to(x.device)[..., None]
            x = x.gather(1, keep.expand(-1, -1, x.shape[-1]))
            table = table.expand(len(x), -1, -1).gather(1, keep.expand(-1, -1, self.dim))
        bias: Tensor = self.patch_embed["proj"].bias  # type: ignore[assignment]
        x = F.linear(x, self._kernel.flatten(1), bias) + table
        return torch.cat([self.cls_token.to(x.dtype).expand(len(x), -1, -1), x], dim=1)

    def forward(self, volumes: Tensor, mask: Mask | None = None, *, layers: Sequence[int] = ()) -> VolumeTokens:
        """Volumes to tokens.

        Args:
            volumes: [B, C, S1, ..., Sn].
            mask: of cells, row-major; masked ones are left out.
            layers: blocks, counted from 0 or negative from the end, whose cells are returned as `levels` and whose
                whole sequences as `memories`, before the last norm.

        Raises:
            UserError: volumes that do not fit, or a layer that does not exist.
        """
        wanted, found = block_numbers(layers, self.depth), {}
        x = self.embed(volumes, mask)
        for number, block in enumerate(self.blocks):
            x = block(x)
            if number in wanted:
                found[number] = x
        memories, x = tuple(found[layer] for layer in wanted), self.norm(x)
        grid = (self.cells[0], prod(self.cells[1:]))
        levels = tuple(memory[:, 1:] for memory in memories)
        return VolumeTokens(x[:, 1:], grid, x[:, :1], levels, cells=self.cells, memories=memories)


def position_table(width: int, cells: Sequence[int], positions: str = "fixed") -> nn.Parameter:
    """Positions [1, N, D]: sines and cosines that do not learn, or small random numbers that do.

    Raises:
        UserError: an unknown kind, or a width that does not divide into sines and cosines of every axis.
    """
    if positions == "fixed":
        return nn.Parameter(sincos(width, cells)[None], requires_grad=False)
    if positions != "learned":
        raise UserError(f'positions {positions!r} are unknown: choose "fixed" or "learned"')
    table = nn.Parameter(torch.empty(1, prod(cells), width))
    nn.init.trunc_normal_(table, std=0.02)
    return table


def sincos(width: int, cells: Sequence[int]) -> Tensor:
    """Positions on a grid of any number of axes: sines, then cosines, of the first axis, then of the next.

    Args:
        width: D, a multiple of twice the number of axes.
        cells: cells along each axis.

    Returns:
        [N, D] float32, row-major, computed in float64.
    """
    if width % (2 * len(cells)):
        raise UserError(f"position width {width} must be a multiple of {2 * len(cells)} for {len(cells)} axes")
    axes = torch.meshgrid(*(torch.arange(count) for count in cells), indexing="ij")
    return torch.cat([sincos_1d(width // len(cells), axis.flatten()) for axis in axes], dim=1).float()
