"""The codebook of BEiT v2: unit vectors that follow their assignments by moving averages."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mimgen.tokenizers.contract import check_ids
from mimgen.tokenizers.kmeans import assign, spherical_kmeans, totals
from mimgen.tokenizers.ranks import all_reduce_sum_, pick_rows
from mimgen.types import Codes, mix_seed

KMEANS_ITERATIONS = 10


class _Embedding(nn.Module):
    """The buffers of the release; nothing reads its `cluster_size` and `embed_avg`."""

    weight: Tensor
    initted: Tensor

    def __init__(self, codes: int, dim: int, started: bool) -> None:
        super().__init__()
        initial = F.normalize(torch.randn(codes, dim, generator=torch.Generator().manual_seed(0)), dim=1)
        self.register_buffer("weight", initial)
        self.register_buffer("cluster_size", torch.zeros(codes))
        self.register_buffer("embed_avg", initial.clone())
        self.register_buffer("initted", torch.tensor([float(started)]))


class NormalisedCodebook(nn.Module):
    """Cosine vector quantiser (BEiT v2, section 2.1, and its released code).

    In training, every code that was used moves by 1 - `decay` towards the normalised mean of its latents,
    whatever their number, and is normalised again; the others stay. Statistics are summed over processes.
    This is not the average of VQ-VAE-2 that vector-quantize-pytorch keeps, which weighs by counts.

    Args:
        codebook_size: number K of codes.
        dim: width D of a code.
        decay: of the codes and of the usage.
        commitment: weight of mean (z_q - z)^2 of unit vectors.
        kmeans: start from k-means over the first training batch.
        seed: of the rows that k-means starts from.
    """

    cluster_size: Tensor

    def __init__(
        self,
        codebook_size: int,
        dim: int,
        *,
        decay: float = 0.99,
        commitment: float = 1.0,
        kmeans: bool = True,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.codebook_size, self.dim = codebook_size, dim
        self.decay, self.commitment, self.seed = decay, commitment, seed
        self.embedding = _Embedding(codebook_size, dim, not kmeans)
        self.register_buffer("cluster_size", torch.zeros(codebook_size))

    def forward(self, latents: Tensor) -> Codes:
        """Quantise latents [B, D, h, w]; `losses` has `commitment` while training.

        The gradient passes straight through to the normalised latents. In evaluation mode nothing changes.
        """
        with torch.autocast(latents.device.type, enabled=False):
            z = F.normalize(latents.float(), dim=1)
            rows = z.detach().permute(0, 2, 3, 1).flatten(0, 2)  # [B h w, D]
            if self.training and not bool(self.embedding.initted.all()):
                self.start(rows)
            indices = assign(rows, self.embedding.weight).view(len(z), *z.shape[2:])
            code = self._entries(indices)
            losses = {"commitment": self.commitment * F.mse_loss(z, code)} if self.training else {}
            if self.training:
                self.count(indices)
                self._move(rows, indices.flatten())
        return Codes(indices, (z + (code - z).detach()).to(latents.dtype), losses)

    def lookup(self, indices: Tensor) -> Tensor:
        """Ids [B, h, w] to unit codes [B, D, h, w] float32.

        Raises:
            UserError: ids outside 0..K-1.
        """
        check_ids(indices, self.codebook_size)
        return self._entries(indices)

    def _entries(self, indices: Tensor) -> Tensor:
        return self.embedding.weight[indices].permute(0, 3, 1, 2)  # [B, D, h, w]

    @torch.no_grad()
    def start(self, rows: Tensor, centres: Tensor | None = None) -> None:
        """Put the codes on the k-means centres of unit rows [n, D], found from `centres` [K, D]."""
        if centres is None:
            generator = torch.Generator().manual_seed(mix_seed(self.seed, "kmeans"))
            centres = pick_rows(rows, self.codebook_size, generator)
        self.embedding.weight.copy_(spherical_kmeans(rows, centres, KMEANS_ITERATIONS))
        self.embedding.initted.fill_(1)

    @torch.no_grad()
    def count(self, indices: Tensor) -> None:
        """Move the usage `cluster_size` [K] towards the counts of ids of any shape."""
        counts = torch.bincount(indices.flatten(), minlength=self.codebook_size).float()
        all_reduce_sum_(counts)
        self.cluster_size.lerp_(counts, 1 - self.decay)

    @torch.no_grad()
    def _move(self, rows: Tensor, ids: Tensor) -> None:
        """One step of the moving average; `rows` [n, D] of this process with their ids [n]."""
        codes = self.embedding.weight
        sums, counts = totals(rows, ids, self.codebook_size)
        all_reduce_sum_(sums)
        all_reduce_sum_(counts)
        means = torch.where(counts[:, None] > 0, F.normalize(sums, dim=1), codes)  # [K, D]
        codes.copy_(F.normalize(codes.lerp(means, 1 - self.decay), dim=1))
