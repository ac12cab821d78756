"""Decoders that read a memory by cross-attention: of a second view (CroCo), of a few visible patches (SelectiveMAE)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mimgen.errors import UserError
from mimgen.layers.blocks.cross import CrossBlock
from mimgen.layers.init import init_sincos_pos_embed, init_weights
from mimgen.layers.position import resize_position_table, sincos_2d
from mimgen.layers.rotary_grid import grid_positions, grid_rotation
from mimgen.methods.croco.encoder import Positions, checked_grid
from mimgen.pretrained import PretrainedModule
from mimgen.types import Mask, Tokens


class CrossViewDecoder(PretrainedModule):
    """CroCo's decoder: the first view's tokens see each other and the second view's (arXiv 2210.10716, section 3.2).

    Args:
        image_size: side in pixels, or (rows, columns), of the images that fixed positions are made for.
        patch: side of a patch in pixels.
        encoder_width: width of the encoder's tokens.
        width: of the decoder.
        depth: blocks.
        heads: attention heads.
        output: numbers predicted for each patch; those of its pixels by default.
        mlp_ratio: hidden width of the MLPs over `width`.
        positions: those of the encoder, "fixed" or "rotary".
        base: of rotary positions.
        norm_memory: whether each block has a norm of its own for the second view; without, it learns worse.
        eps: of the layer norms.

    Raises:
        UserError: unknown positions, or a size that does not divide into patches.
    """

    table: Tensor

    def __init__(
        self,
        image_size: int | tuple[int, int] = 224,
        patch: int = 16,
        encoder_width: int = 768,
        width: int = 512,
        depth: int = 8,
        heads: int = 16,
        output: int | None = None,
        mlp_ratio: float = 4.0,
        positions: Positions = "fixed",
        base: float = 100.0,
        norm_memory: bool = True,
        eps: float = 1e-6,
    ) -> None:
        super().__init__()
        self.grid = checked_grid(image_size, patch, positions)
        self.dim, self.width, self.heads = output or 3 * patch * patch, width, heads
        self.positions, self.base = positions, base
        self.embed = nn.Linear(encoder_width, width)
        self.mask_token = nn.Parameter(torch.empty(1, 1, width))
        self.blocks = nn.ModuleList(
            CrossBlock(width, heads, mlp_ratio=mlp_ratio, eps=eps, norm_memory=norm_memory) for _ in range(depth)
        )
        self.norm = nn.LayerNorm(width, eps)
        self.pred = nn.Linear(width, self.dim)
        if positions == "fixed":
            self.register_buffer("table", sincos_2d(width, *self.grid)[None], persistent=False)
        init_weights(self)

    def forward(self, tokens: Tokens, second: Tokens, mask: Mask | None = None) -> Tensor:
        """Predictions [B, N, output] for every patch of the first view.

        Args:
            tokens: of the first view's visible patches, ascending; of all of them without a mask.
            second: of the whole second view.
            mask: of the first view's N patches.

        Raises:
            UserError: other numbers of tokens than the mask leaves.
        """
        x, memory = self.embed(tokens.patches), self.embed(second.patches)
        x = x if mask is None else self._filled(x, mask)
        if self.positions == "fixed":
            x = x + resize_position_table(self.table, self.grid, tokens.grid)
            memory = memory + resize_position_table(self.table, self.grid, second.grid)
            rotations = None
        else:
            positions = (grid_positions(grid, x.device)[None] for grid in (tokens.grid, second.grid))
            mine, theirs = (grid_rotation(position, self.width // self.heads, self.base) for position in positions)
            rotations = (mine, theirs)
        for block in self.blocks:
            x = block(x, memory, rotations)
        return self.pred(self.norm(x))

    def _filled(self, x: Tensor, mask: Mask) -> Tensor:
        """Visible tokens [B, K, width] at their positions, mask tokens at the others: [B, N, width]."""
        if x.shape[1] != mask.keep.shape[1]:
            raise UserError(
                f"the mask leaves {mask.keep.shape[1]} patches and the encoder gave {x.shape[1]}: pass the mask to both"
            )
        mask_tokens = self.mask_token.to(x.dtype).expand(len(x), mask.drop.shape[1], -1)
        restore = mask.restore.to(x.device)[..., None].expand(-1, -1, x.shape[-1])
        return torch.cat([x, mask_tokens], dim=1).gather(1, restore)


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
        self.grid = checked_grid(image_size, patch, "fixed")
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
        wanted = Mask(mask.predict).drop.to(tokens.patches.device)[..., None]
        predicted_patches = self.predict_patches(tokens, wanted)
        predicted = predicted_patches.new_zeros(len(predicted_patches), mask.masked.shape[1], self.dim)
        return predicted.scatter(1, wanted.expand_as(predicted_patches), predicted_patches)

    def predict_patches(self, tokens: Tokens, positions: Tensor) -> Tensor:
        """Predictions [B, M, output] for the patches at `positions` [B, M, 1]."""
        table = resize_position_table(self.pos_embed, self.grid, tokens.grid)[:, 1:]
        x = self.mask_token + table.expand(len(positions), -1, -1).gather(1, positions.expand(-1, -1, table.shape[-1]))
        memory = torch.cat([tokens.prefix, tokens.patches], dim=1)
        for block in self.blocks:
            x = block(x, memory)
        return self.pred(self.norm(x))
