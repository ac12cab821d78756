"""The Meissonic transformer: masked image tokens, text and micro-conditions to token logits.

Paper: "Meissonic: Revitalizing Masked Generative Transformers for Efficient High-Resolution
Text-to-Image Synthesis", ICLR 2025 (arXiv 2410.08261).
"""

from __future__ import annotations

import warnings

import torch
from torch import Tensor, nn

from mimgen.generators.base import Conditioning, Prediction, TextCondition
from mimgen.generators.meissonic.network import MeissonicNetwork
from mimgen.generators.meissonic.predictor import TextPredictor
from mimgen.ops.positions import gather_tokens

__all__ = ["MeissonicTransformer"]


class MeissonicTransformer(MeissonicNetwork):
    """A `Generator` conditioned on text; arguments as for `MeissonicNetwork`."""

    conditioning: Conditioning = "text"
    prediction: Prediction = "masked_tokens"

    @property
    def codebook_size(self) -> int:
        """Number of codes K."""
        return int(self.config["codebook_size"])

    def predictor(self, condition: TextCondition, grid: tuple[int, int]) -> TextPredictor:
        """The sampler's `predict` for one run."""
        return TextPredictor(self, grid, condition)

    def check_grid(self, grid: tuple[int, int]) -> None:
        """Warn of a grid of tokens that it can fill, but was not trained on."""
        rows, columns = grid
        if self.compression == 2 and (rows % 2 or columns % 2):
            warnings.warn(
                f"the model halves its grid of tokens, and {rows} x {columns} does not halve: a row of zeros is added. "
                "A height and a width of an even number of tokens look better",
                stacklevel=4,
            )
        learned = None if self.places is None else tuple(self.places.shape[2:])
        if learned is not None and learned != grid:
            warnings.warn(
                f"the model learned the positions of {learned[0]} x {learned[1]} tokens; they are stretched to {rows} "
                f"x {columns}",
                stacklevel=4,
            )

    def recomputable_blocks(self) -> list[nn.Module]:
        """All blocks."""
        return [*self.transformer_blocks, *self.single_transformer_blocks]

    def hidden(
        self,
        tokens: Tensor,
        states: Tensor,
        pooled: Tensor,
        timestep: Tensor,
        sizes: Tensor,
        *,
        image_ids: Tensor | None = None,
        layers: tuple[int, ...] = (),
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The trunk: image states [B, n, D] after all blocks, and after each block named in `layers`.

        Arguments as for `forward`; n is the size of `trunk_grid`, layers count joint blocks first.
        """
        height, width = tokens.shape[1:]
        cached = self.prepare(states, pooled, sizes, (height, width), image_ids=image_ids)
        condition = self.timestep_embedding(cached, timestep)
        x, text, levels = self.embed_tokens(tokens, cached), cached.text, {}
        for index, block in enumerate(self.transformer_blocks):
            x, text = block(x, text, condition, cached.table)
            if index in layers:
                levels[index] = x
        length = text.shape[1]
        x = torch.cat([text, x], dim=1)  # [B, T + n, D]
        for index, block in enumerate(self.single_transformer_blocks, start=len(self.transformer_blocks)):
            x = block(x, condition, cached.table)
            if index in layers:
                levels[index] = x[:, length:]
        return x[:, length:], tuple(levels[index] for index in layers)

    def states(
        self,
        tokens: Tensor,
        states: Tensor,
        pooled: Tensor,
        timestep: Tensor,
        sizes: Tensor,
        *,
        image_ids: Tensor | None = None,
    ) -> Tensor:
        """What the head reads: [B, N, D] on the token grid. Arguments as for `forward`."""
        height, width = tokens.shape[1:]
        x, _ = self.hidden(tokens, states, pooled, timestep, sizes, image_ids=image_ids)
        x = self.project_from_hidden(self.project_from_hidden_norm(x))
        if self.up_block is None:
            return x
        x = self.up_block(x.transpose(1, 2).unflatten(2, self.trunk_grid(height, width)))
        return x[:, :, :height, :width].flatten(2).transpose(1, 2)

    def forward(
        self,
        tokens: Tensor,
        states: Tensor,
        pooled: Tensor,
        timestep: Tensor,
        sizes: Tensor,
        *,
        positions: Tensor | None = None,
        image_ids: Tensor | None = None,
    ) -> Tensor:
        """Logits of the tokens at `positions`.

        Args:
            tokens: [B, h, w] int64 ids, `mask_id` where masked.
            states: [B, T, joint_attention_dim] text states.
            pooled: [B, pooled_text_dim] pooled text.
            timestep: [B] or [1] masking rate in [0, 1]; multiplied by 1000 inside.
            sizes: [B, 5] micro-conditions.
            positions: [B, M] int64 row-major positions to score; all N = h * w when None.
            image_ids: [n, 3] rotary positions of the trunk tokens; their own grid when None.

        Returns:
            [B, M, K] logits.
        """
        x = self.states(tokens, states, pooled, timestep, sizes, image_ids=image_ids)
        x = x if positions is None else gather_tokens(x, positions)
        return self.mlm_layer(x)
