"""The layers of the Meissonic transformer, and a pass through them that generates.

Weights keep torch's default initialisation, as in the official code: adaLN-zero with N(0, 0.02) was
tried at width 192 and was 0.1 nats behind after 140 steps.

Paper: "Meissonic: Revitalizing Masked Generative Transformers for Efficient High-Resolution
Text-to-Image Synthesis", ICLR 2025 (arXiv 2410.08261). Parameter names and the fields of
config.json are those of the official release.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mimgen.errors import UserError
from mimgen.generators.meissonic.blocks import JointBlock, SingleBlock
from mimgen.generators.meissonic.cells import CellGrid, Cells
from mimgen.generators.meissonic.compiled import called
from mimgen.generators.meissonic.condition_cache import ConditionCache
from mimgen.generators.meissonic.embedding import TimeTextEmbedding, TwoLayer, sinusoid
from mimgen.generators.meissonic.resample import Resample
from mimgen.generators.meissonic.speed import EXACT, Speed
from mimgen.generators.meissonic.tokens import TokenEmbedding, TokenHead
from mimgen.layers.kv_cache import KeyValues
from mimgen.layers.norm import RMSNorm
from mimgen.layers.rope import axis_widths, grid_ids, rotary_table
from mimgen.ops.positions import gather_tokens
from mimgen.pretrained import PretrainedModule

MICRO_CONDITIONS = 5  # width, height, crop left, crop top, preference score


class MeissonicNetwork(PretrainedModule):
    """Joint text-image blocks, single-stream blocks, 2-D rotary positions, RMS-normed q and k.

    Args:
        num_layers: joint blocks.
        num_single_layers: single-stream blocks.
        attention_head_dim: width of a head.
        num_attention_heads: heads; the width D of the model is heads times head width.
        joint_attention_dim: width of the text states.
        pooled_projection_dim: width of the conditioning vector, must equal D as in the release.
        pooled_text_dim: width of the pooled text vector; `pooled_projection_dim` when None.
        axes_dims_rope: rotary channels of the text, row and column axes; None for 1 : 3.5 : 3.5.
        vocab_size: token ids incl. the mask id (the last one) and spare ids.
        codebook_size: number of codes K that can be predicted.
        downsample: halve the grid before the blocks (the paper's feature compression).
        upsample: double it behind them; must equal `downsample` for generation.
        places: (rows, columns) of a learned table that is added to the embedded tokens and resized for
            other grids; None as in the release, where rotary positions alone tell where a token is.
        micro_scale: factor on the sinusoids of the micro-conditions, 1 as in the release. Where they never
            change, their 1280 numbers are a bias that each step of Adam moves a thousand times too
            far; 0.02 makes it an ordinary one.
        code_levels: digit ranges of the code ids (FSQ levels, or twos for LFQ): rows of embedding and head
            are then sums over digits plus a row of their own (see `DigitTable`); None as in the release.
    """

    def __init__(
        self,
        num_layers: int = 14,
        num_single_layers: int = 28,
        attention_head_dim: int = 128,
        num_attention_heads: int = 8,
        joint_attention_dim: int = 1024,
        pooled_projection_dim: int = 1024,
        pooled_text_dim: int | None = None,
        axes_dims_rope: tuple[int, int, int] | None = None,
        vocab_size: int = 8256,
        codebook_size: int = 8192,
        downsample: bool = False,
        upsample: bool = False,
        places: tuple[int, int] | None = None,
        code_levels: tuple[int, ...] | None = None,
        micro_scale: float = 1.0,
        patch_size: int = 1,
        in_channels: int = 64,
        guidance_embeds: bool = False,
    ) -> None:
        super().__init__()
        width = attention_head_dim * num_attention_heads
        _check(width, pooled_projection_dim, vocab_size, codebook_size, guidance_embeds)
        self.width, self.mask_id, self.micro_scale = width, vocab_size - 1, micro_scale
        levels = tuple(code_levels) if code_levels else None
        self.rope_widths = tuple(axes_dims_rope or axis_widths(attention_head_dim))
        pooled = pooled_text_dim or pooled_projection_dim
        self.time_text_embed = TimeTextEmbedding(pooled_projection_dim, width)
        self.context_embedder = nn.Linear(joint_attention_dim, width)
        self.encoder_proj_layer_norm = RMSNorm(width)
        self.cond_embed = TwoLayer(pooled + 256 * MICRO_CONDITIONS, width, bias=False)
        self.embed = TokenEmbedding(vocab_size, width, levels)
        self.places = nn.Parameter(0.2 * torch.randn(1, width, *places)) if places else None
        self.down_block = Resample(width, up=False) if downsample else None
        self.project_to_hidden_norm = RMSNorm(width)
        self.project_to_hidden = nn.Linear(width, width, bias=False)
        heads = num_attention_heads
        self.transformer_blocks = nn.ModuleList([JointBlock(width, heads) for _ in range(num_layers)])
        self.single_transformer_blocks = nn.ModuleList(
            [SingleBlock(width, heads) for _ in range(num_single_layers)]
        )
        self.project_from_hidden_norm = RMSNorm(width)
        self.project_from_hidden = nn.Linear(width, width, bias=False)
        self.up_block = Resample(width, up=True) if upsample else None
        self.mlm_layer = TokenHead(width, codebook_size, levels)

    @property
    def compression(self) -> int:
        """Image tokens per trunk token along a side: 2 with down-sampling, else 1."""
        return 2 if self.down_block is not None else 1

    def trunk_grid(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of the grid inside the blocks for a token grid of `height` x `width`."""
        return CellGrid(height, width, self.compression).shape

    def prepare(
        self,
        states: Tensor,
        pooled: Tensor,
        sizes: Tensor,
        grid: tuple[int, int],
        *,
        image_ids: Tensor | None = None,
    ) -> ConditionCache:
        """What does not change while an image is generated.

        Args:
            states: [B, T, joint_attention_dim] text states.
            pooled: [B, pooled_text_dim] pooled text.
            sizes: [B, 5] micro-conditions.
            grid: rows and columns of tokens.
            image_ids: [n, 3] rotary positions of the trunk cells; their own grid when None.
        """
        pooled = pooled.to(self.dtype)
        micro = self.micro_scale * sinusoid(sizes).flatten(1).to(pooled.dtype)  # [B, 5 x 256]
        vector = self.time_text_embed.text_embedder(self.cond_embed(torch.cat([pooled, micro], dim=1)))
        text = self.encoder_proj_layer_norm(self.context_embedder(states.to(self.dtype)))
        if image_ids is None:
            image_ids = grid_ids(*self.trunk_grid(*grid), device=text.device)
        table = rotary_table(torch.cat([image_ids.new_zeros(text.shape[1], 3), image_ids]), self.rope_widths)
        return ConditionCache(text, vector, table, CellGrid(*grid, self.compression), self._position_table(grid))

    def timestep_embedding(self, prepared: ConditionCache, timestep: Tensor) -> Tensor:
        """The conditioning vector [B, D] of a step; timestep [B] or [1] as for `forward`."""
        embedded = sinusoid(timestep * 1000).to(prepared.vector.dtype)
        return self.time_text_embed.timestep_embedder(embedded) + prepared.vector

    def embed_tokens(self, tokens: Tensor, prepared: ConditionCache, cells: Tensor | None = None) -> Tensor:
        """What the blocks read of tokens [B, h, w]: [B, n, D], or [B, m, D] at cells [B, m]."""
        places = prepared.places
        if cells is not None:
            where, inside = prepared.grid.tokens(cells)  # [B, m, side^2] each
            x = self.embed.rows(tokens.flatten(1).gather(1, where.flatten(1)).view_as(where))
            x = x if places is None else x + places[0].flatten(1).T[where]
            x = x.squeeze(2) if self.down_block is None else self.down_block.down(x, inside)
        else:
            x = self.embed(tokens)
            x = x if places is None else x + places
            x = x if self.down_block is None else self.down_block(x)
            x = x.flatten(2).transpose(1, 2)  # [B, n, D]
        return self.project_to_hidden(self.project_to_hidden_norm(x))

    def _position_table(self, grid: tuple[int, int]) -> Tensor | None:
        """[1, D, h, w] the learned table on a token grid."""
        if self.places is None or self.places.shape[2:] == grid:
            return self.places
        return F.interpolate(self.places, grid, mode="bicubic", align_corners=False)

    def states_at(
        self,
        tokens: Tensor,
        prepared: ConditionCache,
        timestep: Tensor,
        positions: Tensor,
        *,
        speed: Speed = EXACT,
        stores: Sequence[KeyValues] | None = None,
    ) -> Tensor:
        """What the head reads at some positions: [B, M, D], as `states` gives it there.

        Args:
            tokens: [B, h, w] int64 ids.
            prepared: what `prepare` returns.
            timestep: [B] or [1] masking rate, as for `forward`.
            positions: [B, M] int64 row-major positions.
            speed: whether the last block is shortened, and whether blocks are compiled.
            stores: keep the keys and values of each block.
        """
        grid, condition = prepared.grid, self.timestep_embedding(prepared, timestep)
        cells = positions_of_cells = grid.cells(positions)
        wanted = None
        if speed.last_block and len(self.single_transformer_blocks):
            found = Cells.holding(cells, grid.count)
            wanted, positions_of_cells = found.index, found.positions(cells, grid.count)
        x, text, table = self.embed_tokens(tokens, prepared), prepared.text, prepared.table
        kept = iter(stores) if stores is not None else itertools.repeat(None)
        for block in self.transformer_blocks:
            x, text = called(block, speed.compile)(x, text, condition, table, next(kept))
        length = text.shape[1]
        x = torch.cat([text, x], dim=1)  # [B, T + n, D], text first as in the release
        for index, block in enumerate(self.single_transformer_blocks, start=1):
            if wanted is not None and index == len(self.single_transformer_blocks):
                # as many cells as are asked for: another number in every step, not worth compiling
                x = block(x, condition, table, next(kept), length + wanted)
            else:
                x = called(block, speed.compile)(x, condition, table, next(kept))
        x = x if wanted is not None else x[:, length:]
        return self.output_features(x, positions_of_cells, grid.corners(positions))

    def output_features(self, cells: Tensor, positions: Tensor, corners: Tensor) -> Tensor:
        """What the head reads at M tokens, [B, M, D].

        Args:
            cells: [B, m, D] behind the last block.
            positions: [B, M] int64, which of the m cells per token lies in.
            corners: [B, M] int64, which corner of it.
        """
        x = self.project_from_hidden(self.project_from_hidden_norm(cells))
        if self.up_block is None:
            return gather_tokens(x, positions)
        x = self.up_block.up(x)  # [B, n, side^2, D]
        return gather_tokens(x.flatten(1, 2), positions * x.shape[2] + corners)  # [B, M, D]

def _check(width: int, pooled: int, vocabulary: int, codebook: int, guidance_embeds: bool) -> None:
    if pooled != width:
        raise UserError(
            f"pooled_projection_dim ({pooled}) must equal heads times head width ({width}); "
            "set pooled_text_dim for a pooled text vector of another width"
        )
    if vocabulary <= codebook:
        raise UserError(
            f"vocab_size ({vocabulary}) must exceed codebook_size ({codebook}): the last id is the mask"
        )
    if guidance_embeds:
        raise UserError("guidance_embeds is not used by any released Meissonic model: set it to false")
