"""MergeVQ's encoder: convolutions or patches, then attention blocks that merge tokens.

Module names are those of the official state dict.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mimgen.errors import UserError
from mimgen.layers.blocks.vit import VitBlock
from mimgen.layers.merge_schedule import possible
from mimgen.layers.merging import Merged
from mimgen.tokenizers.magvit2.layers import down_levels, level_blocks
from mimgen.tokenizers.residual import EPS, group_norm

LAYER_SCALE = 1e-5
LAYER_NORM_EPS = 1e-5


def falling_rates(drop_path: float, layers: int) -> list[float]:
    """Drop path of each block: from the given rate down to 0, the reverse of the usual order."""
    return [drop_path * (1 - index / max(1, layers - 1)) for index in range(layers)]


def count_heads(width: int, heads: int, head_dim: int | None) -> int:
    """Heads of a width: `heads`, or as many of width `head_dim` as there is room for where that is more."""
    return heads if head_dim is None else max(width // head_dim, heads)


@dataclass(frozen=True)
class Encoded:
    """What the transformer returns.

    Attributes:
        tokens: [B, 1 + K, D], the class token first; then remaining even tokens in order, then odd ones.
        merged: sizes [B, 1 + K, 1] and source [B, 1 + K, 1 + N] of all tokens, the class token included.
        grid: rows and columns of the N tokens before merging.
        levels: (tokens, merged) after each layer asked for.
    """

    tokens: Tensor
    merged: Merged
    grid: tuple[int, int]
    levels: tuple[tuple[Tensor, Merged], ...] = ()

    @property
    def class_token(self) -> Tensor:
        """[B, D]."""
        return self.tokens[:, 0]

    @property
    def source(self) -> Tensor:
        """[B, K, N] boolean: which kept token each position of the grid is part of; columns sum to 1."""
        return self.merged.source[:, 1:, 1:]

    @property
    def sizes(self) -> Tensor:
        """[B, K] number of positions behind each kept token; rows sum to N."""
        return self.merged.sizes[:, 1:, 0]


def _blocks(width: int, layers: int, heads: int, drop_path: float) -> nn.ModuleList:
    return nn.ModuleList(
        VitBlock(width, heads, layer_scale=LAYER_SCALE, drop_path=rate, eps=LAYER_NORM_EPS)
        for rate in falling_rates(drop_path, layers)
    )


class PlainBlocks(nn.Module):
    """Attention blocks without merging, blind to sizes. [B, T, D] -> [B, T, D].

    Args:
        width: D.
        layers: number of blocks.
        heads: attention heads.
        drop_path: of the first block, falling to 0.
    """

    def __init__(self, width: int, layers: int, heads: int, drop_path: float = 0.0) -> None:
        super().__init__()
        self.blocks = _blocks(width, layers, heads, drop_path)

    def forward(self, x: Tensor) -> Tensor:
        """[B, T, D] -> [B, T, D]."""
        for block in self.blocks:
            x = block(x)
        return x


class MergingBlocks(nn.Module):
    """A class token and attention blocks with token merging between attention and MLP (section 3.2).

    Keys weigh by their size in the attention, while training too.

    Args:
        width: D.
        layers: number of blocks.
        heads: attention heads.
        drop_path: of the first block, falling to 0.
    """

    def __init__(self, width: int, layers: int, heads: int, drop_path: float = 0.0) -> None:
        super().__init__()
        self.cls_token = nn.Parameter(torch.randn(1, 1, width) * 0.02)
        self.blocks = _blocks(width, layers, heads, drop_path)

    def start(self, patches: Tensor) -> tuple[Tensor, Merged]:
        """Patches [B, N, D] to tokens [B, 1 + N, D] with nothing merged yet."""
        x = torch.cat([self.cls_token.expand(len(patches), -1, -1), patches], dim=1)
        return x, Merged.start(x)

    def forward(
        self, x: Tensor, merged: Merged, merge_schedule: Sequence[int], layers: Sequence[int] = ()
    ) -> tuple[Tensor, Merged, tuple[tuple[Tensor, Merged], ...]]:
        """Run the blocks on x [B, T, D]; block i removes removals[i] tokens; states after the blocks in `layers`."""
        states: dict[int, tuple[Tensor, Merged]] = {}
        for index, (block, remove) in enumerate(zip(self.blocks, merge_schedule, strict=True)):
            assert isinstance(block, VitBlock)
            x, merged = block.merge_forward(x, merged, remove)
            if index in layers:
                states[index] = (x, merged)
        return x, merged, tuple(states[layer] for layer in layers)


def represent_head(kind: str, width: int, outputs: int) -> nn.Sequential:
    """The head on the class token that is aligned to a teacher, [B, D] -> [B, outputs].

    "layer3": three linear layers with GELU between (4 D wide); "layer2": two, with GELU and layer norm between.

    Raises:
        UserError: another kind.
    """
    hidden = 4 * width
    if kind == "layer3":
        middle: list[nn.Module] = [nn.GELU(), nn.Linear(hidden, hidden), nn.GELU()]
    elif kind == "layer2":
        middle = [nn.GELU(), nn.LayerNorm(hidden)]
    else:
        raise UserError(f'head "{kind}" is unknown: choose layer2 (G), layer3 (G+R and R) or None')
    return nn.Sequential(nn.Linear(width, hidden), *middle, nn.Linear(hidden, outputs))


class MergingEncoder(nn.Module):
    """Images in [-1, 1] to K latents of `latent` channels and a class token.

    Args:
        channels: width of the finest convolutional level.
        multipliers: width of each level in units of `channels`; each level after the first halves the grid.
        blocks: residual blocks of each level.
        latent: channels of the latents.
        layers: attention blocks.
        heads: attention heads.
        patch_width: None for the convolutional stem (G, G+R); else D of a transformer on plain patches (R).
        rep_layers: further blocks, without merging, between the tokens and the head.
        head: "layer2", "layer3" or None; see `represent_head`.
        rep_dim: width of the head's output (768 for DINOv2-B).
        drop_path: of the first attention block, falling to 0.
        image_channels: channels of the images.
    """

    def __init__(
        self,
        channels: int,
        multipliers: Sequence[int],
        blocks: int | Sequence[int],
        latent: int,
        layers: int,
        heads: int,
        *,
        patch_width: int | None = None,
        rep_layers: int = 0,
        head: str | None = "layer3",
        rep_dim: int = 768,
        drop_path: float = 0.0,
        image_channels: int = 3,
    ) -> None:
        super().__init__()
        widths = [channels * m for m in multipliers]
        self.width = patch_width or widths[-1]
        self.patch = 2 ** (len(widths) - 1)
        self.down = nn.ModuleList()
        if patch_width is None:
            self.conv_in: nn.Module = nn.Conv2d(image_channels, channels, 3, padding=1, bias=False)
            self.down = down_levels(widths, channels, level_blocks(blocks, len(widths)))
        else:
            self.conv_in = nn.Sequential(
                nn.Conv2d(image_channels, patch_width, self.patch, self.patch),
                nn.GroupNorm(patch_width, patch_width, eps=EPS),  # one channel a group: instance norm
            )
        self.attn = MergingBlocks(self.width, layers, heads, drop_path)
        self.rep_attn = PlainBlocks(self.width, rep_layers, heads) if rep_layers else None
        self.dist_head = represent_head(head, self.width, rep_dim) if head else None
        self.norm_out = group_norm(self.width)
        self.conv_out = nn.Conv2d(self.width, latent, 1)

    @property
    def depth(self) -> int:
        """Number of attention blocks that merge."""
        return len(self.attn.blocks)

    def forward(self, images: Tensor, merge_schedule: Sequence[int] = (), layers: Sequence[int] = ()) -> Encoded:
        """Images [B, 3, H, W] to merged tokens.

        Args:
            images: in [-1, 1], sides multiples of the patch.
            merge_schedule: tokens to remove in each block, all zero when empty; a block that cannot remove so many
                removes what it can.
            layers: blocks whose states `levels` is to hold.
        """
        x = self.conv_in(images)
        for level in self.down:
            x = level(x)
        grid = (x.shape[2], x.shape[3])
        counts = possible(tuple(merge_schedule) or (0,) * self.depth, grid[0] * grid[1] + 1)
        tokens, merged = self.attn.start(x.flatten(2).transpose(1, 2))  # [B, 1 + N, D]
        tokens, merged, levels = self.attn(tokens, merged, counts, layers)
        return Encoded(tokens, merged, grid, levels)

    def latents(self, encoded: Encoded) -> Tensor:
        """The kept tokens as latents [B, latent, K] before the signs."""
        # Statistics and the 1x1 convolution do not see the order, so no square container is needed.
        x = encoded.tokens[:, 1:].transpose(1, 2)[..., None]  # [B, D, K, 1]
        return self.conv_out(F.silu(self.norm_out(x)))[..., 0]  # [B, latent, K]

    def represent(self, encoded: Encoded) -> Tensor:
        """[B, rep_dim], the head on the class token, behind the further blocks where there are any.

        Raises:
            UserError: the encoder was built without a head.
        """
        if self.dist_head is None:
            raise UserError("this MergeVQ has no representation head: build it with head='layer3' or 'layer2'")
        x = encoded.tokens
        if self.rep_attn is not None:
            x = self.rep_attn(x)
        return self.dist_head(x[:, 0])
