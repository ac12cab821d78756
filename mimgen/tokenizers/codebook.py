"""A codebook trained by gradients, as the first VQ-VAE, LlamaGen and TiTok have it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mimgen.tokenizers.entropy import code_entropies
from mimgen.tokenizers.quantizers import Quantizer, nearest
from mimgen.types import Codes


class GradientCodebook(Quantizer):
    """Nearest code of a codebook that the optimiser moves (VQ-VAE, equation 3).

    `VectorQuantizer` moves its codes by averages and suits most new tokenizers better. This one
    exists because released tokenizers were trained with it and keep their codes under the key
    `embedding.weight`.

    Args:
        dim: width D of latents and codes.
        codebook_size: number K of codes.
        cosine: L2-normalise latents and codes (ViT-VQGAN).
        commitment: weight of mean (latent - stopped code)^2; the term mean (stopped latent - code)^2 has weight 1.
        entropy: weight of sample entropy - codebook entropy of softmax(-distance / 0.01); 0 leaves it out.
        window: number of latest ids whose use `usage` tells; 0 keeps none.
    """

    codebook_used: Tensor

    def __init__(
        self,
        dim: int,
        codebook_size: int,
        *,
        cosine: bool = True,
        commitment: float = 0.25,
        entropy: float = 0.0,
        window: int = 0,
    ) -> None:
        super().__init__(dim, dim, codebook_size)
        self.cosine, self.commitment, self.entropy = cosine, commitment, entropy
        self.embedding = nn.Embedding(codebook_size, dim)
        # the range that VQGAN and LlamaGen start from
        nn.init.uniform_(self.embedding.weight, -1 / codebook_size, 1 / codebook_size)
        if window:
            # -1 is no code, so that a fresh window counts nothing (LlamaGen fills it with code 0)
            self.register_buffer("codebook_used", torch.full((window,), -1.0))

    def entries(self) -> Tensor:
        """[K, D] float32 codes as the decoder reads them."""
        return self._unit(self.embedding.weight.float())

    def _unit(self, rows: Tensor) -> Tensor:
        return F.normalize(rows, dim=-1) if self.cosine else rows

    def _codes(self, indices: Tensor) -> Tensor:
        return self._unit(self.embedding(indices).float())

    def forward(self, latents: Tensor) -> Codes:
        """Quantise latents [B, D, h, w]; `losses` has `codebook`, `commitment` and `entropy` while training."""
        with torch.autocast(latents.device.type, enabled=False):
            rows = self._unit(self._rows(latents))  # [B, N, D]
            indices = nearest(rows, self.entries())  # [B, N]
            codes = self._codes(indices)
            losses = self._losses(rows, codes) if self.training else {}
            straight = rows + (codes - rows).detach() if self.training else codes
            out = self._map(straight, *latents.shape[2:]).to(latents.dtype)
        if self.training and self._window:
            self._remember(indices)
        return Codes(indices.unflatten(1, latents.shape[2:]), out, losses)

    def _losses(self, rows: Tensor, codes: Tensor) -> dict[str, Tensor]:
        """Weighted terms of latents and their codes [B, N, D]."""
        losses = {
            "codebook": F.mse_loss(codes, rows.detach()),
            "commitment": self.commitment * F.mse_loss(rows, codes.detach()),
        }
        if self.entropy:
            rows, entries = rows.flatten(0, 1), self.entries()
            # One more channel, 1 against -|e|^2 / 2, turns inner products into squared distances.
            rows = torch.cat([rows, torch.ones_like(rows[:, :1])], 1)
            entries = torch.cat([entries, -entries.square().sum(1, keepdim=True) / 2], 1)
            found = code_entropies(rows, entries, inverse_temperature=100.0, logarithm="shift")
            losses["entropy"] = self.entropy * (found.sample - found.codebook)
        return losses

    @property
    def _window(self) -> int:
        return len(self.codebook_used) if "codebook_used" in self._buffers else 0

    @torch.no_grad()
    def _remember(self, indices: Tensor) -> None:
        """Push the ids of this process into the window."""
        fresh = indices.flatten()[-self._window :].to(self.codebook_used)
        self.codebook_used.copy_(torch.cat([self.codebook_used, fresh])[len(fresh) :])

    def usage(self) -> Tensor:
        """Share of the codes in [0, 1] that occur among the latest ids; 0 without a window."""
        if not self._window:
            return torch.zeros(())
        used = self.codebook_used
        return used[used >= 0].unique().numel() / torch.tensor(float(self.codebook_size))
