"""CroCo's decoder: cross-attention to the tokens of the second view."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mimgen.errors import UserError
from mimgen.layers.blocks.cross import CrossBlock
from mimgen.layers.init import init_weights
from mimgen.layers.position import resize_position_table, sincos_2d
from mimgen.layers.rotary_grid import grid_positions, grid_rotation
from mimgen.methods.croco.encoder import Positions, checked_grid
from mimgen.ops.positions import gather_tokens
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
        return gather_tokens(torch.cat([x, mask_tokens], dim=1), mask.restore.to(x.device))
