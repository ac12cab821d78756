"""Index backpropagation: the gradient reaches every code through the soft assignment."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mimgen.tokenizers.entropy import Entropies, code_entropies
from mimgen.tokenizers.quantizers.base import Quantizer, nearest
from mimgen.types import Codes


class IndexBackpropQuantizer(Quantizer):
    """The code of the largest product, trained through softmax over all codes (IBQ, arXiv 2412.02692).

    quant = (hard - stop(soft) + soft) @ codebook: its value is the chosen code, its gradient moves
    all of them, so that the codebook may be large and wide. Needs [B h w, K] numbers while training.

    Args:
        dim: width D of the latents.
        codebook_size: number K of codes.
        code_dim: width of a code; a linear map leads to and from it when it is not `dim`.
        commitment: beta of mean (code - stop(latent))^2 in the codebook term.
        entropy: weight of `sharpness` * sample entropy - `diversity` * codebook entropy; 0 leaves it out.
        sharpness: weight of the sample entropy.
        diversity: weight of the codebook entropy.
        temperature: of the soft assignment in the entropy term.
        cosine: L2-normalise latents and codes.
    """

    def __init__(
        self,
        dim: int,
        codebook_size: int,
        *,
        code_dim: int | None = None,
        commitment: float = 0.25,
        entropy: float = 0.05,
        sharpness: float = 1.0,
        diversity: float = 1.0,
        temperature: float = 0.01,
        cosine: bool = False,
    ) -> None:
        super().__init__(dim, code_dim or dim, codebook_size)
        self.commitment = commitment
        self.entropy = entropy
        self.sharpness = sharpness
        self.diversity = diversity
        self.temperature = temperature
        self.cosine = cosine
        self.embedding = nn.Embedding(codebook_size, self.code_dim)
        nn.init.normal_(self.embedding.weight, std=self.code_dim**-0.5)  # codes of length 1 on average

    @property
    def codebook(self) -> Tensor:
        """The codes [K, code width] in float32."""
        weight = self.embedding.weight.float()
        return F.normalize(weight, dim=-1) if self.cosine else weight

    def entropies(self, rows: Tensor) -> Entropies:
        """Entropies of the soft assignment of rows [B, N, code width]."""
        # The factor 2 of a squared distance is not in this affinity.
        sharpness = 0.5 / self.temperature
        return code_entropies(
            rows.flatten(0, 1), self.codebook, inverse_temperature=sharpness, logarithm="shift"
        )

    def forward(self, latents: Tensor) -> Codes:
        """Quantise latents [B, D, h, w]; `losses` has `codebook` and `entropy` while training."""
        with torch.autocast(latents.device.type, enabled=False):
            rows = self._rows(latents)
            if self.cosine:
                rows = F.normalize(rows, dim=-1)
            if self.training:
                quantised, indices, losses = self._train(rows)
            else:
                indices = nearest(rows, self.codebook, by="product")
                quantised, losses = self._codes(indices), {}
            out = self._map(quantised, *latents.shape[2:]).to(latents.dtype)
        return Codes(indices.unflatten(1, latents.shape[2:]), out, losses)

    def _train(self, rows: Tensor) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Quantised rows [B, N, code width], ids [B, N] and losses of rows [B, N, code width]."""
        codebook = self.codebook
        soft = (rows @ codebook.T).softmax(-1)  # [B, N, K]
        indices = soft.argmax(-1)
        code = codebook[indices]  # [B, N, code width]
        # hard @ codebook is the chosen code, and (soft - stop(soft)) @ codebook is 0, but its gradient
        # reaches the rows and, through the products in `soft`, every code.
        quantised = code + (soft - soft.detach()) @ codebook
        losses = {
            "codebook": F.mse_loss(quantised, rows)
            + F.mse_loss(code.detach(), rows)
            + self.commitment * F.mse_loss(code, rows.detach())
        }
        if self.entropy:
            entropies = self.entropies(rows)
            term = self.sharpness * entropies.sample - self.diversity * entropies.codebook
            losses["entropy"] = self.entropy * term
        return quantised, indices, losses

    def _codes(self, indices: Tensor) -> Tensor:
        return self.codebook[indices]
