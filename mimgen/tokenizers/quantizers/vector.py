"""Vector quantisation with a codebook of moving averages."""

from __future__ import annotations

import torch
from torch import Tensor

from mimgen.errors import UserError
from mimgen.tokenizers.quantizers.base import Quantizer, nearest
from mimgen.tokenizers.ranks import all_reduce_sum_, pick_rows
from mimgen.types import Codes, mix_seed

# A code is dead by default below this share of the mean count of a code in a batch, or this count.
DEAD_SHARE = 0.3
MAX_REVIVED = 1.0


class VectorQuantizer(Quantizer):
    """Nearest code of a codebook that follows its assignments by moving averages (VQ-VAE-2).

    Random choices (k-means start, revival of dead codes) depend on `seed` and on the number of
    choices made so far, which is a buffer. So they are the same after a resume, on every process
    and whatever the number of processes.

    Args:
        dim: width D of the latents.
        codebook_size: number K of codes.
        code_dim: width of a code; a linear map leads to and from it when it is not `dim`.
        cosine: L2-normalise latents and codes (ViT-VQGAN), a good companion of a small `code_dim`.
        decay: of the moving averages.
        commitment: weight of mean (latent - code)^2 (VQ-VAE, equation 3, beta).
        kmeans: start the codebook from k-means over the first training batch.
        revive_below: a code whose average count a batch falls below this is put on a random
            latent of the batch, together with its statistics; 0 turns it off. None takes 0.3 of
            the mean count, at most 1: a fixed 1 would replace half of a codebook that has as many
            codes as a batch has positions at every step.
        rotation: pass gradients by the rotation trick (arXiv 2410.06424) and not straight through.
        seed: of the random choices.
    """

    started: Tensor
    choices: Tensor

    def __init__(
        self,
        dim: int,
        codebook_size: int,
        *,
        code_dim: int | None = None,
        cosine: bool = False,
        decay: float = 0.99,
        commitment: float = 0.25,
        kmeans: bool = True,
        revive_below: float | None = None,
        rotation: bool = False,
        seed: int = 0,
    ) -> None:
        from vector_quantize_pytorch import VectorQuantize

        super().__init__(dim, code_dim or dim, codebook_size)
        if not 0 <= decay < 1:
            raise UserError(f"decay {decay} of a codebook must lie in 0..1 (1 excluded); 0.99 is usual")
        self.seed = seed
        self.cosine = cosine
        self.revive_below = revive_below
        self.vq = VectorQuantize(
            dim=self.code_dim,
            codebook_size=codebook_size,
            decay=decay,
            commitment_weight=commitment,
            use_cosine_sim=cosine,
            threshold_ema_dead_code=MAX_REVIVED if revive_below is None else revive_below,
            rotation_trick=rotation,
            sync_codebook=False,
        )
        # The library settles at construction whether to reduce over processes and samples from
        # each process's own global generator; both are put right here.
        codebook = self.vq._codebook
        codebook.all_reduce_fn = codebook.kmeans_all_reduce_fn = all_reduce_sum_
        codebook.sample_fn = codebook.replace_sample_fn = self._pick
        self.register_buffer("started", torch.tensor(not kmeans))
        self.register_buffer("choices", torch.zeros((), dtype=torch.int64))

    def _pick(self, samples: Tensor, count: int) -> Tensor:
        """Sample `count` of the rows [1, n, code width] of all processes."""
        generator = torch.Generator().manual_seed(mix_seed(self.seed, "codes", int(self.choices)))
        self.choices += 1
        return pick_rows(samples[0], count, generator)[None]

    @torch.no_grad()
    def _start_codes(self, rows: Tensor) -> None:
        """Put the codes on the k-means centres of rows [B, N, code width]."""
        codebook = self.vq._codebook
        codebook.initted.fill_(False)
        codebook.init_embed_(codebook.transform_input(rows).flatten(0, 1)[None])  # [1, B N, code width]
        self.started.fill_(True)

    def _set_threshold(self) -> None:
        """Settle which codes count as dead from the mean count, the same on every process."""
        if self.revive_below is None:
            codebook = self.vq._codebook
            mean = float(codebook.cluster_size.sum()) / self.codebook_size
            codebook.threshold_ema_dead_code = min(MAX_REVIVED, DEAD_SHARE * mean)
            codebook.reset_cluster_size = codebook.threshold_ema_dead_code

    def forward(self, latents: Tensor) -> Codes:
        """Quantise latents [B, D, h, w]; `losses` has `commitment` while training.

        In training mode the codebook moves; in evaluation mode nothing changes.
        """
        with torch.autocast(latents.device.type, enabled=False):
            rows = self._rows(latents)  # [B, N, code width]
            if not self.training:
                indices = self._nearest(rows)
                quantised, losses = self._codes(indices), {}
            else:
                if not self.started:
                    self._start_codes(rows)
                self._set_threshold()
                quantised, indices, loss = self.vq(rows)
                losses = {"commitment": loss}
            out = self._map(quantised, *latents.shape[2:]).to(latents.dtype)
        return Codes(indices.unflatten(1, latents.shape[2:]), out, losses)

    def _nearest(self, rows: Tensor) -> Tensor:
        """Ids [B, N] of rows [B, N, code width], several times as fast as the library's."""
        codebook = self.vq._codebook
        rows, codes = codebook.transform_input(rows), codebook.embed[0].float()
        return nearest(rows, codes, by="product" if self.cosine else "distance")

    def _codes(self, indices: Tensor) -> Tensor:
        return self.vq._codebook.embed[0][indices].float()  # [B, N, code width]
