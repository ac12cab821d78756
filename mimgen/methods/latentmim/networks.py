"""LatentMIM's networks: a ViT with a projector, and a decoder that predicts the latents of masked patches."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mimgen.encoders.vit import IMAGENET_MEAN, IMAGENET_STD, VitEncoder
from mimgen.layers.blocks.cross import CrossBlock
from mimgen.layers.init import init_sincos_pos_embed, init_weights
from mimgen.layers.patch_embed import PatchEmbed
from mimgen.layers.position import resize_position_table
from mimgen.pretrained import PretrainedModule
from mimgen.types import Mask, Tokens


class LinearPatchEmbed(PatchEmbed):
    """`PatchEmbed` as a linear layer on the numbers of a patch in the order (row, column, channel).

    Args:
        patch: side of a patch in pixels.
        width: D.
        channels: C of the image.
    """

    def __init__(self, patch: int, width: int, channels: int = 3) -> None:
        super().__init__(patch, width, channels)
        self.proj = nn.Linear(channels * patch * patch, width)  # type: ignore[assignment]

    def forward(self, images: Tensor, keep: Tensor | None = None) -> Tensor:
        """[B, C, H, W] -> [B, N, D], row-major, or [B, K, D] of the patches `keep` [B, K]."""
        return self.proj(self.pixels(images, keep).unflatten(2, (self.channels, -1)).transpose(2, 3).flatten(2))


class Projector(nn.Module):
    """Linear layers without bias, a norm after each, GELU between them.

    Args:
        width: D of input and output.
        masked: width between.
        depth: layers; 0 for none.
    """

    def __init__(self, width: int, hidden: int, depth: int) -> None:
        super().__init__()
        sides = [width, *[hidden] * (depth - 1), width] if depth else []
        self.linears = nn.ModuleList(nn.Linear(a, b, bias=False) for a, b in pairwise(sides))
        self.norms = nn.ModuleList(nn.LayerNorm(side, 1e-5) for side in sides[1:])

    def forward(self, x: Tensor) -> Tensor:
        """[..., D] -> [..., D]."""
        for layer, (linear, norm) in enumerate(zip(self.linears, self.norms)):
            x = norm(linear(F.gelu(x) if layer else x))
        return x


class LatentVit(VitEncoder):
    """A `VitEncoder` with fixed positions and a projector (LatentMIM, arXiv 2407.15837, section 3).

    As an encoder it gives the tokens before the projector, which is what probes read; `latents` gives those
    behind it, which training compares.

    Args:
        image_size: side in pixels, or (rows, columns), of the images without gaps.
        patch: side of a patch in pixels.
        width: D.
        depth: number of blocks.
        heads: attention heads H.
        mlp_ratio: hidden width of the MLP over D.
        head_width: hidden width of the projector.
        head_depth: its linear layers; 0 for no projector.
        eps: of the layer norms outside the projector.
        channels: C of the images.
        mean: of the images' channels, subtracted first.
        std: of the images' channels, divided by.
    """

    def __init__(
        self,
        image_size: int | tuple[int, int] = 224,
        patch: int = 16,
        width: int = 768,
        depth: int = 12,
        heads: int = 12,
        mlp_ratio: float = 4.0,
        head_width: int = 4096,
        head_depth: int = 3,
        eps: float = 1e-6,
        channels: int = 3,
        mean: tuple[float, ...] = IMAGENET_MEAN,
        std: tuple[float, ...] = IMAGENET_STD,
    ) -> None:
        super().__init__(
            image_size, patch, width, depth, heads, mlp_ratio, eps=eps, channels=channels, mean=mean, std=std
        )
        self.patch_embed = LinearPatchEmbed(patch, width, channels)
        self.projector = Projector(width, head_width, head_depth)
        init_weights(self)
        init_sincos_pos_embed(self.pos_embed, self.grid)

    def latents(self, images: Tensor, mask: Mask | None = None) -> Tokens:
        """Images [B, C, H, W] in [0, 1] to tokens behind the projector, the class token too."""
        tokens = self(images, mask)
        return replace(tokens, prefix=self.projector(tokens.prefix), patches=self.projector(tokens.patches))


class LatentDecoder(PretrainedModule):
    """From latents of visible patches to those of masked ones, by cross-attention (LatentMIM, section 3.4).

    A masked patch asks with the mask token, the mean of the visible latents weighted by how alike the positions
    are, and its own position.

    Args:
        image_size: side in pixels, or (rows, columns), of the images without gaps.
        patch: side of a patch in pixels.
        encoder_width: width of the latents.
        width: of the decoder.
        depth: blocks.
        heads: attention heads.
        mlp_ratio: hidden width of the MLPs over `width`.
        averaged: whether the weighted mean is part of the question.
        eps: of the layer norms.
    """

    def __init__(
        self,
        image_size: int | tuple[int, int] = 224,
        patch: int = 16,
        encoder_width: int = 768,
        width: int = 512,
        depth: int = 3,
        heads: int = 16,
        mlp_ratio: float = 4.0,
        averaged: bool = True,
        eps: float = 1e-6,
    ) -> None:
        super().__init__()
        rows, columns = (image_size, image_size) if isinstance(image_size, int) else image_size
        self.grid, self.averaged, self.dim = (rows // patch, columns // patch), averaged, encoder_width
        self.embed = nn.Linear(encoder_width, width)
        self.cls_token = nn.Parameter(torch.empty(1, 1, width))
        self.mask_token = nn.Parameter(torch.empty(1, 1, width))
        self.pos_embed = nn.Parameter(torch.empty(1, 1 + self.grid[0] * self.grid[1], width))
        self.blocks = nn.ModuleList(
            CrossBlock(width, heads, mlp_ratio=mlp_ratio, eps=eps, joint=True) for _ in range(depth)
        )
        self.norm = nn.LayerNorm(width, eps)
        self.pred = nn.Linear(width, encoder_width)
        init_weights(self)
        nn.init.zeros_(self.mask_token)
        init_sincos_pos_embed(self.pos_embed, self.grid)

    def forward(self, tokens: Tokens, mask: Mask) -> Tensor:
        """Latents [B, M, encoder_width] of the M masked patches, ascending.

        Args:
            tokens: latents of the visible patches and of the class token, as the encoder gives them for `mask`.
            mask: of all N patches.
        """
        x = self.embed(torch.cat([tokens.prefix, tokens.patches], dim=1))
        table = resize_position_table(self.pos_embed, self.grid, tokens.grid).expand(len(x), -1, -1)
        first, patches = table[:, :1], table[:, 1:]
        positions = [ids.to(x.device)[..., None].expand(-1, -1, x.shape[-1]) for ids in (mask.keep, mask.drop)]
        visible_positions, masked_positions = (patches.gather(1, ids) for ids in positions)
        questions = self.mask_token.expand(len(x), masked_positions.shape[1], -1)
        if self.averaged:
            weights = (masked_positions @ visible_positions.transpose(1, 2) / x.shape[-1] ** 0.5).softmax(-1)
            questions = questions + weights @ x[:, 1:]
        questions = torch.cat([self.cls_token.expand(len(x), -1, -1) + first, questions + masked_positions], dim=1)
        memory = x + torch.cat([first, visible_positions], dim=1)
        for block in self.blocks:
            questions = block(questions, memory)
        return self.pred(self.norm(questions))[:, 1:]
