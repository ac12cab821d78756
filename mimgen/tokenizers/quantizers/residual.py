"""Residual vector quantisation: each level quantises what the levels before left over."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from mimgen.errors import UserError
from mimgen.tokenizers.quantizers.base import Quantizer
from mimgen.tokenizers.quantizers.vector import VectorQuantizer
from mimgen.types import Codes, mix_seed

# Usage counts, embeddings and heads have a row for every id.
MAX_CODES = 2**24


class ResidualQuantizer(Quantizer):
    """A sum of codes, one of each level (residual VQ, SoundStream), under one id.

    id = i_0 + K i_1 + K^2 i_2 + ...; `levels` (K, K, ...) are its digits, lowest first, as for FSQ, so
    that a generator may learn digits and not K^depth unrelated ids.

    Args:
        dim: width D of the latents.
        codes: number K of codes of one level.
        depth: number of levels; `codebook_size` is K^depth.
        code_dim: width of a code; a linear map leads to and from it when it is not `dim`.
        decay: of the moving averages.
        commitment: weight of mean (residual - code)^2, averaged over levels.
        kmeans: start every level from k-means over its first training batch.
        revive_below: a code of a smaller average count a batch is put on a random residual, see
            `VectorQuantizer`.
        seed: of the random choices.

    Raises:
        UserError: for a depth below 1 or more than 2^24 ids.
    """

    def __init__(
        self,
        dim: int,
        codes: int,
        depth: int = 2,
        *,
        code_dim: int | None = None,
        decay: float = 0.99,
        commitment: float = 0.25,
        kmeans: bool = True,
        revive_below: float | None = None,
        seed: int = 0,
    ) -> None:
        if depth < 1 or codes**depth > MAX_CODES:
            raise UserError(
                f"{depth} levels of {codes} codes make {codes}^{depth} ids: give at least 1 level and at most "
                f"{MAX_CODES} ids, for example 2 levels of 1024"
            )
        super().__init__(dim, code_dim or dim, codes**depth)
        self.levels = (codes,) * depth
        self.layers = nn.ModuleList(
            VectorQuantizer(
                self.code_dim,
                codes,
                decay=decay,
                commitment=commitment,
                kmeans=kmeans,
                revive_below=revive_below,
                seed=mix_seed(seed, level),  # or all levels would revive the same rows
            )
            for level in range(depth)
        )

    def forward(self, latents: Tensor) -> Codes:
        """Quantise latents [B, D, h, w]; `losses` has `commitment` while training."""
        with torch.autocast(latents.device.type, enabled=False):
            rows = self._rows(latents)
            residual, total = rows, torch.zeros_like(rows)
            indices, losses = torch.zeros(rows.shape[:2], dtype=torch.int64, device=rows.device), []
            for level, layer in enumerate(self.layers):
                found = layer(residual.transpose(1, 2)[..., None])  # a map [B, D, N, 1], as a level takes one
                code = found.latents[..., 0].transpose(1, 2).detach()  # [B, N, D]
                residual, total = residual - code, total + code
                indices = indices + found.indices[..., 0] * self.levels[0] ** level  # [B, N]
                losses += found.losses.values()
            # Straight through once: passing it through every level would multiply the gradient by the depth.
            straight = rows + (total - rows).detach() if self.training else total
            out = self._map(straight, *latents.shape[2:]).to(latents.dtype)
        named = {"commitment": torch.stack(losses).mean()} if losses else {}
        return Codes(indices.unflatten(1, latents.shape[2:]), out, named)

    def _codes(self, indices: Tensor) -> Tensor:
        size = self.levels[0]
        digits = [indices // size**level % size for level in range(len(self.layers))]  # lowest level first
        layers = cast("list[VectorQuantizer]", list(self.layers))
        return torch.stack([layer._codes(digit) for layer, digit in zip(layers, digits)]).sum(0)  # [B, N, D]
