"""SelectiveMAE's decoder: only predicted patches ask, by cross-attention to the visible ones."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mimgen.layers.blocks.cross import CrossBlock
from mimgen.layers.init import init_sincos_pos_embed, init_weights
from mimgen.layers.patch_embed import patch_grid
from mimgen.layers.position import resize_position_table
from mimgen.ops.positions import gather_tokens
from mimgen.pretrained import PretrainedModule
from mimgen.types import Mask, Tokens


class SubsetDecoder(PretrainedModule):
    """SelectiveMAE's decoder: only the scored patches ask, and they read the encoder's tokens (arXiv 2406.11933).

    Neither time nor memory is spent on patches that are masked and not scored.

    Args:
        image_size: side in pixels, or (rows, columns), of the images that the position table is made for.
        patch: side of a patch in pixels.
        encoder_width: width of the encoder's tokens, which are read as they are.
        width: of the queries.
        depth: blocks.
        heads: attention heads.
        output: numbers predicted for each patch; those of its pixels by default.
        self_attention: whether scored patches see each other.
        mlp_ratio: hidden width of the MLPs over `width`.
        eps: of the layer norms.
    """

    def __init__(
        self,
        image_size: int | tuple[int, int] = 224,
        patch: int = 16,
        encoder_width: int = 768,
        width: int = 512,
        depth: int = 8,
        heads: int = 16,
        output: int | None = None,
        self_attention: bool = False,
        mlp_ratio: float = 4.0,
        eps: float = 1e-6,
    ) -> None:
        super().__init__()
        self.grid = patch_grid(image_size, patch)
        self.dim = output or 3 * patch * patch
        self.mask_token = nn.Parameter(torch.empty(1, 1, width))
        # the first entry belongs to the class token, which never asks; the released table has it
        self.pos_embed = nn.Parameter(torch.empty(1, 1 + self.grid[0] * self.grid[1], width))
        self.blocks = nn.ModuleList(
            CrossBlock(
                width, heads, encoder_width, mlp_ratio=mlp_ratio, eps=eps, self_attention=self_attention,
                norm_memory=False, joint=True,
            )
            for _ in range(depth)
        )  # fmt: skip
        self.norm = nn.LayerNorm(width, eps)
        self.pred = nn.Linear(width, self.dim)
        init_weights(self)
        init_sincos_pos_embed(self.pos_embed, self.grid)

    def forward(self, tokens: Tokens, mask: Mask) -> Tensor:
        """Predictions [B, N, output] for the scored patches of `mask`, 0 for the others."""
        wanted = Mask(mask.predict).drop.to(tokens.patches.device)  # [B, M]
        predicted = self.predict_patches(tokens, wanted)  # [B, M, output]
        everywhere = predicted.new_zeros(len(predicted), mask.masked.shape[1], self.dim)
        return everywhere.scatter(1, wanted[..., None].expand_as(predicted), predicted)

    def predict_patches(self, tokens: Tokens, positions: Tensor) -> Tensor:
        """Predictions [B, M, output] for the patches at `positions` [B, M]."""
        table = resize_position_table(self.pos_embed, self.grid, tokens.grid)[:, 1:]
        x = self.mask_token + gather_tokens(table.expand(len(positions), -1, -1), positions)
        memory = torch.cat([tokens.prefix, tokens.patches], dim=1)
        for block in self.blocks:
            x = block(x, memory)
        return self.pred(self.norm(x))
