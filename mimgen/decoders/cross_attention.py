"""Decoders that read a memory by cross-attention: of a second view (CroCo), of a few visible patches (SelectiveMAE)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mimgen.encoders.mae import fix_positions, start
from mimgen.errors import UserError
from mimgen.layers.blocks.cross import CrossBlock
from mimgen.layers.position import resize_position_table, sincos_2d
from mimgen.layers.rotary_grid import grid_places, grid_rotation
from mimgen.methods.croco.encoder import Positions, checked_grid
from mimgen.pretrained import Part
from mimgen.types import Mask, Tokens


class CrossViewDecoder(Part):
    """CroCo's decoder: the first view's tokens see each other and the second view's (arXiv 2210.10716, section 3.2).

    Args:
        image_size: side in pixels, or (rows, columns), of the pictures that fixed positions are made for.
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
        start(self)

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
            places = (grid_places(grid, x.device)[None] for grid in (tokens.grid, second.grid))
            mine, theirs = (grid_rotation(place, self.width // self.heads, self.base) for place in places)
            rotations = (mine, theirs)
        for block in self.blocks:
            x = block(x, memory, rotations)
        return self.pred(self.norm(x))

    def _filled(self, x: Tensor, mask: Mask) -> Tensor:
        """Visible tokens [B, K, width] at their places, mask tokens at the others: [B, N, width]."""
        if x.shape[1] != mask.keep.shape[1]:
            raise UserError(
                f"the mask leaves {mask.keep.shape[1]} patches and the encoder gave {x.shape[1]}: pass the mask to both"
            )
        hidden = self.mask_token.to(x.dtype).expand(len(x), mask.drop.shape[1], -1)
        restore = mask.restore.to(x.device)[..., None].expand(-1, -1, x.shape[-1])
        return torch.cat([x, hidden], dim=1).gather(1, restore)


class SubsetDecoder(Part):
    """SelectiveMAE's decoder: only the scored patches ask, and they read the encoder's tokens (arXiv 2406.11933).

    Neither time nor memory is spent on patches that are hidden and not scored.

    Args:
        image_size: side in pixels, or (rows, columns), of the pictures that the position table is made for.
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
        start(self)
        fix_positions(self.pos_embed, self.grid)

    def forward(self, tokens: Tokens, mask: Mask) -> Tensor:
        """Predictions [B, N, output] for the scored patches of `mask`, 0 for the others."""
        scored = Mask(mask.predict).drop.to(tokens.patches.device)[..., None]
        said = self.scored(tokens, scored)
        predicted = said.new_zeros(len(said), mask.hidden.shape[1], self.dim)
        return predicted.scatter(1, scored.expand_as(said), said)

    def scored(self, tokens: Tokens, places: Tensor) -> Tensor:
        """Predictions [B, M, output] for the patches at `places` [B, M, 1]."""
        table = resize_position_table(self.pos_embed, self.grid, tokens.grid)[:, 1:]
        x = self.mask_token + table.expand(len(places), -1, -1).gather(1, places.expand(-1, -1, table.shape[-1]))
        memory = torch.cat([tokens.prefix, tokens.patches], dim=1)
        for block in self.blocks:
            x = block(x, memory)
        return self.pred(self.norm(x))
