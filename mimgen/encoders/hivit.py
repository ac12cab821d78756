"""HiViT with a feature pyramid that is pretrained along with it (iTPN, arXiv 2211.12735)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mimgen.encoders.contract import block_numbers, register_channel_stats
from mimgen.encoders.neck import Neck
from mimgen.encoders.vit import IMAGENET_MEAN, IMAGENET_STD
from mimgen.errors import UserError
from mimgen.layers.blocks.beit import relative_index
from mimgen.layers.blocks.hivit import UnitBlock, UnitEmbed, UnitMerge
from mimgen.layers.blocks.vit import init_linears
from mimgen.layers.masks import check_mask
from mimgen.layers.patch_embed import patch_grid
from mimgen.layers.position import resize_position_table
from mimgen.pretrained import PretrainedModule
from mimgen.types import Mask, Tokens


@dataclass(frozen=True)
class PyramidTokens(Tokens):
    """`Tokens` of a hierarchical encoder.

    Attributes:
        finer: units [B, K, s, s, D / s] as they were before each merge, s = 4, then 2.
        pyramid: outputs of the neck [B, K, s, s, F], s = 1, 2, 4; empty unless asked for.
    """

    finer: tuple[Tensor, ...] = ()
    pyramid: tuple[Tensor, ...] = ()

    def maps(self) -> tuple[Tensor, ...]:
        """The pyramid as feature maps [B, F, h s, w s] for detection and segmentation, from coarse to fine.

        Raises:
            UserError: tokens of visible patches only.
        """
        rows, columns = self.grid
        if self.patches.shape[1] != rows * columns:
            raise UserError("feature maps need every patch: leave the mask out")
        found = []
        for level in self.pyramid:
            cells = level.unflatten(1, (rows, columns)).permute(0, 5, 1, 3, 2, 4)  # [B, F, h, s, w, s]
            found.append(cells.flatten(4, 5).flatten(2, 3))  # [B, F, h s, w s]
        return tuple(found)


class HiVitEncoder(PretrainedModule):
    """MLP blocks on units at a quarter and half of the width, attention on patches, and a neck (iTPN, section 3).

    Without a mask every patch is encoded. Masked patches are left out from the start, or, with `mask_token`, become
    a token where attention starts: then the finer levels still hold what they were made of, as in the CLIP variant.

    Args:
        image_size: side in pixels, or (rows, columns), of the images that positions are made for; images of
            other sizes get an interpolated table, but only without `relative`.
        patch: side of a patch in pixels, a multiple of 4.
        width: D, a multiple of 4 and of `heads`.
        mlp_depths: blocks at a quarter and at half of the width.
        depth: blocks with attention.
        heads: attention heads H.
        bridge_ratio: hidden width of the MLPs of `mlp_depths` over their width.
        mlp_ratio: the same of all other blocks.
        qkv_bias: whether the projection of queries, keys and values has a bias.
        relative: whether each block has a learned bias for every offset.
        layer_scale: start of a learned scale on the branches of the blocks, those of the neck apart; None for none.
        drop_path: rate of the last block, rising linearly from 0.
        neck_width: F; 0 for an encoder without neck, whose pyramid is its output alone.
        neck_depth: MLP blocks after each split of the neck.
        levels: of the pyramid, 2 or 3.
        mask_token: what masked patches become, see above.
        stretched: read positions off a table stretched by a tenth of a patch whenever patches are left out, as
            iTPN's release does by mistake; for its checkpoints and comparison with it only.
        classes: outputs of a linear head on the normalised mean patch; 0 for none.
        eps: of the layer norms.
        channels: C of the images.
        mean: of each channel, subtracted first.
        std: of each channel, divided by.

    Attributes:
        dim: width D of a token.
        depth: blocks of all kinds, merges included, that `layers` counts.
        stem: those before the attention.
        patch: pixels per side of a patch token.

    Raises:
        UserError: sizes that do not divide.
    """

    mean: Tensor
    std: Tensor
    offsets: Tensor

    def __init__(
        self,
        image_size: int | tuple[int, int] = 224,
        patch: int = 16,
        width: int = 512,
        mlp_depths: tuple[int, int] = (3, 3),
        depth: int = 24,
        heads: int = 8,
        bridge_ratio: float = 3.0,
        mlp_ratio: float = 4.0,
        qkv_bias: bool = True,
        relative: bool = False,
        layer_scale: float | None = None,
        drop_path: float = 0.0,
        neck_width: int = 256,
        neck_depth: int = 2,
        levels: int = 3,
        mask_token: bool = False,
        stretched: bool = False,
        classes: int = 0,
        eps: float = 1e-6,
        channels: int = 3,
        mean: tuple[float, ...] = IMAGENET_MEAN,
        std: tuple[float, ...] = IMAGENET_STD,
    ) -> None:
        super().__init__()
        if width % 4:
            raise UserError(f"width {width} must be a multiple of 4: units have a quarter of it at first")
        self.grid, self.dim, self.patch, self.relative = patch_grid(image_size, patch), width, patch, relative
        self.stretched = stretched
        self.patch_embed = UnitEmbed(patch, width // 4, channels, eps)
        self.pos_embed = nn.Parameter(torch.zeros(1, self.grid[0] * self.grid[1], width))
        self.mask_token = nn.Parameter(torch.zeros(1, 1, width)) if mask_token else None
        rates = iter(torch.linspace(0, drop_path, sum(mlp_depths) + depth).tolist())  # merges have none
        plain = {"layer_scale": layer_scale, "eps": eps}
        blocks: list[nn.Module] = []
        for share, count in zip((4, 2), mlp_depths, strict=True):
            blocks += [
                UnitBlock(width // share, mlp_ratio=bridge_ratio, drop_path=next(rates), **plain)  # type: ignore[arg-type]
                for _ in range(count)
            ]
            blocks.append(UnitMerge(width // share, eps))
        self.stem = len(blocks)
        grid = self.grid if relative else None
        blocks += [
            UnitBlock(width, heads, mlp_ratio=mlp_ratio, qkv_bias=qkv_bias, drop_path=next(rates), grid=grid, **plain)  # type: ignore[arg-type]
            for _ in range(depth)
        ]
        self.depth, self.blocks = len(blocks), nn.ModuleList(blocks)
        self.neck = Neck(width, neck_width, neck_depth, levels, mlp_ratio, eps) if neck_width else None
        self.fc_norm = nn.LayerNorm(width, eps) if classes else None
        self.head = nn.Linear(width, classes) if classes else None
        register_channel_stats(self, mean, std, channels)
        self.register_buffer("offsets", relative_index(*self.grid)[1:, 1:], persistent=False)  # no class token
        self._init_weights()

    def _init_weights(self) -> None:
        """Initial weights: truncated normal 0.02, zero biases."""
        init_linears(self)
        for table in (self.pos_embed, self.mask_token):
            if table is not None:
                nn.init.trunc_normal_(table, std=0.02)

    def forward(self, images: Tensor, mask: Mask | None = None, *, layers: Sequence[int] = ()) -> PyramidTokens:
        """Images to tokens of patches, as the last block gives them: this network has no last norm.

        Args:
            images: [B, C, H, W] in [0, 1].
            mask: of patches; see above for what becomes of the masked ones.
            layers: blocks, counted from 0 or negative from the end, whose tokens are returned as `levels`; those of
                the stem have the units of a patch side by side, [B, K, s s D / s].

        Raises:
            UserError: images that do not fit, or a layer that does not exist.
        """
        wanted = block_numbers(layers, self.depth)
        self.patch_embed.grid(images)  # before the means, which would make three channels of one
        x, grid = self.patch_embed((images.to(self.dtype) - self.mean) / self.std)
        if mask is not None:
            check_mask(mask.masked, *x.shape[:2])
        keep = None if mask is None or self.mask_token is not None else mask.keep.to(x.device)
        if keep is not None:
            x = x.gather(1, keep[..., None, None, None].expand(-1, -1, *x.shape[2:]))  # [B, K, 4, 4, D / 4]
        finer, levels = [], {}
        offsets = self._offsets(grid, keep)
        for number, block in enumerate(self.blocks):
            if isinstance(block, UnitMerge):
                finer.append(x)
            if number == self.stem:
                x = self._placed(x.flatten(2), grid, mask, keep)
            x = block(x) if number < self.stem else block(x, offsets)
            if number in wanted:
                levels[number] = x.flatten(2)
        return PyramidTokens(x, grid, x[:, :0], tuple(levels[layer] for layer in wanted), finer=tuple(finer))

    def pyramid(self, images: Tensor, mask: Mask | None = None, *, layers: Sequence[int] = ()) -> PyramidTokens:
        """The same with the outputs of the neck as `pyramid`."""
        tokens = self(images, mask, layers=layers)
        top = tokens.patches[:, :, None, None]  # [B, K, 1, 1, D]
        return replace(tokens, pyramid=(top,) if self.neck is None else self.neck(top, tokens.finer))

    def classify(self, images: Tensor) -> Tensor:
        """Images [B, C, H, W] in [0, 1] to logits [B, classes]."""
        if self.head is None or self.fc_norm is None:
            raise UserError("this encoder has no head: build it with classes=... to classify")
        return self.head(self.fc_norm(self(images).patches.mean(1)))

    def _placed(self, x: Tensor, grid: tuple[int, int], mask: Mask | None, keep: Tensor | None) -> Tensor:
        """Patches [B, K, D] with positions, masked ones as the mask token where there is one."""
        table = resize_position_table(self.pos_embed, self.grid, grid)
        if keep is not None:
            table = stretched_table(table, grid) if self.stretched else table
            return x + table.expand(len(x), -1, -1).gather(1, keep[..., None].expand_as(x))
        if mask is not None and self.mask_token is not None:
            x = torch.where(mask.masked.to(x.device)[..., None], self.mask_token.to(x.dtype), x)
        return x + table

    def _offsets(self, grid: tuple[int, int], keep: Tensor | None) -> Tensor | None:
        """Rows of the bias tables [1 or B, K, K] for the patches that are there."""
        if not self.relative:
            return None
        if grid != self.grid:
            rows, columns = self.grid
            raise UserError(
                f"this encoder's relative positions are made for {rows} x {columns} patches, not {grid[0]} x "
                f"{grid[1]}: resize the images to {columns * self.patch} x {rows * self.patch}"
            )
        return self.offsets[None] if keep is None else self.offsets[keep[:, :, None], keep[:, None, :]]


def stretched_table(table: Tensor, grid: tuple[int, int]) -> Tensor:
    """A position table [1, N, D] resized from n to n + 0.1 positions per side, of which the first n remain."""
    plane = table.transpose(1, 2).unflatten(2, grid)  # [1, D, h, w]
    scale = tuple((side + 0.1) / side for side in grid)
    return F.interpolate(plane, scale_factor=scale, mode="bicubic", align_corners=False).flatten(2).transpose(1, 2)
