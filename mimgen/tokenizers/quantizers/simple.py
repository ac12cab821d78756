"""SimVQ: a frozen random codebook behind one trained linear map."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from mimgen.tokenizers.quantizers.base import Quantizer, nearest
from mimgen.types import Codes


class SimpleVectorQuantizer(Quantizer):
    """Nearest code of a frozen random codebook seen through a trained linear map (SimVQ, arXiv 2411.02038).

    One gradient step moves all codes together, so that none is left behind: no revival, no
    k-means and nothing to keep equal between processes besides the map's gradient.

    Args:
        dim: width D of the latents.
        codebook_size: number K of codes.
        code_dim: width of a code; a linear map leads to and from it when it is not `dim`.
        commitment: weight of mean (code - stop(latent))^2 + `pull` * mean (latent - stop(code))^2.
        pull: of the latents towards their codes; well below 1, or the codebook collapses.
        rotation: pass gradients by the rotation trick and not straight through.
    """

    def __init__(
        self,
        dim: int,
        codebook_size: int,
        *,
        code_dim: int | None = None,
        commitment: float = 1.0,
        pull: float = 0.25,
        rotation: bool = True,
    ) -> None:
        from vector_quantize_pytorch import SimVQ

        super().__init__(dim, code_dim or dim, codebook_size)
        self.sim = SimVQ(
            dim=self.code_dim,
            codebook_size=codebook_size,
            rotation_trick=rotation,
            input_to_quantize_commit_loss_weight=pull,
            commitment_weight=commitment,
        )

    def forward(self, latents: Tensor) -> Codes:
        """Quantise latents [B, D, h, w]; `losses` has `commitment` while training."""
        with torch.autocast(latents.device.type, enabled=False):
            rows = self._rows(latents)  # [B, N, code width]
            if self.training:
                quantised, indices, loss = self.sim(rows)
                losses = {"commitment": loss}
            else:
                indices = nearest(rows, self._transform(self.sim.frozen_codebook))  # [B, N]
                quantised, losses = self._codes(indices), {}
            out = self._map(quantised, *latents.shape[2:]).to(latents.dtype)
        return Codes(indices.unflatten(1, latents.shape[2:]), out, losses)

    def _transform(self, codes: Tensor) -> Tensor:
        """Frozen codes [..., code width] to the codes in use."""
        return F.linear(codes.float(), self.sim.code_transform.weight.float())

    def _codes(self, indices: Tensor) -> Tensor:
        return self._transform(self.sim.frozen_codebook[indices])
