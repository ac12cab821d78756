"""Quantisers: continuous latents in, token ids and quantised latents out.

Thin wrappers of vector-quantize-pytorch. All of them work in float32 whatever the surrounding
precision, since half precision overflows in the distances and in the entropy.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mimgen.errors import UserError
from mimgen.tokenizers.entropy import Entropies, code_entropies
from mimgen.tokenizers.ranks import add_ranks, pick_rows
from mimgen.types import Codes, mix_seed


class _Quantizer(nn.Module):
    """Projections to and from the code width, and the change of layout."""

    def __init__(self, dim: int, code_dim: int, codebook_size: int) -> None:
        super().__init__()
        self.dim = dim
        self.code_dim = code_dim
        self.codebook_size = codebook_size
        self.project_in = nn.Linear(dim, code_dim) if code_dim != dim else nn.Identity()
        self.project_out = nn.Linear(code_dim, dim) if code_dim != dim else nn.Identity()

    def _rows(self, latents: Tensor) -> Tensor:
        """[B, D, h, w] to projected float32 rows [B, h w, code width]."""
        if latents.ndim != 4 or latents.shape[1] != self.dim:
            raise ValueError(f"latents must be [B, {self.dim}, h, w], got {tuple(latents.shape)}")
        return _project(self.project_in, latents.flatten(2).transpose(1, 2))

    def _map(self, rows: Tensor, height: int, width: int) -> Tensor:
        """Code rows [B, h w, code width] to latents [B, D, h, w]."""
        return _project(self.project_out, rows).transpose(1, 2).unflatten(2, (height, width))

    def _codes(self, indices: Tensor) -> Tensor:
        """[B, N] token ids to code rows [B, N, code width]."""
        raise NotImplementedError

    def lookup(self, indices: Tensor) -> Tensor:
        """Token ids [B, h, w] int64 to the latents [B, D, h, w] that a decoder reads.

        float32, as `forward` computes them before it returns to the precision of its input.
        """
        with torch.autocast(indices.device.type, enabled=False):
            return self._map(self._codes(indices.flatten(1)), *indices.shape[1:])


def _project(layer: nn.Module, rows: Tensor) -> Tensor:
    """Apply a linear layer in float32 even where its weights are kept in half precision."""
    rows = rows.float()
    if not isinstance(layer, nn.Linear):
        return rows
    return F.linear(rows, layer.weight.float(), layer.bias.float())


class VectorQuantizer(_Quantizer):
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
            latent of the batch, together with its statistics; 0 turns it off.
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
        revive_below: float = 1.0,
        rotation: bool = False,
        seed: int = 0,
    ) -> None:
        from vector_quantize_pytorch import VectorQuantize

        super().__init__(dim, code_dim or dim, codebook_size)
        self.seed = seed
        self.vq = VectorQuantize(
            dim=self.code_dim,
            codebook_size=codebook_size,
            decay=decay,
            commitment_weight=commitment,
            use_cosine_sim=cosine,
            threshold_ema_dead_code=revive_below,
            rotation_trick=rotation,
            sync_codebook=False,
        )
        # The library settles at construction whether to reduce over processes and draws from
        # each process's own global generator; both are put right here.
        codebook = self.vq._codebook
        codebook.all_reduce_fn = codebook.kmeans_all_reduce_fn = add_ranks
        codebook.sample_fn = codebook.replace_sample_fn = self._pick
        self.register_buffer("started", torch.tensor(not kmeans))
        self.register_buffer("choices", torch.zeros((), dtype=torch.int64))

    def _pick(self, samples: Tensor, count: int) -> Tensor:
        """Draw `count` of the rows [1, n, code width] of all processes."""
        generator = torch.Generator().manual_seed(mix_seed(self.seed, "codes", int(self.choices)))
        self.choices += 1
        return pick_rows(samples[0], count, generator)[None]

    @torch.no_grad()
    def _start(self, rows: Tensor) -> None:
        """Put the codes on the k-means centres of rows [B, N, code width]."""
        codebook = self.vq._codebook
        codebook.initted.fill_(False)
        codebook.init_embed_(codebook.transform_input(rows).flatten(0, 1)[None])
        self.started.fill_(True)

    def forward(self, latents: Tensor) -> Codes:
        """Quantise latents [B, D, h, w]; `losses` has `commitment` while training.

        In training mode the codebook moves; in evaluation mode nothing changes.
        """
        with torch.autocast(latents.device.type, enabled=False):
            rows = self._rows(latents)
            if self.training and not self.started:
                self._start(rows)
            quantised, indices, loss = self.vq(rows)
            out = self._map(quantised, *latents.shape[2:]).to(latents.dtype)
        losses = {"commitment": loss} if self.training else {}
        return Codes(indices.unflatten(1, latents.shape[2:]), out, losses)

    def _codes(self, indices: Tensor) -> Tensor:
        return self.vq._codebook.embed[0][indices].float()


class LookupFreeQuantizer(_Quantizer):
    """The sign of every channel as one bit of the token id (LFQ, MAGVIT-v2).

    The defaults are those that its users found to work: commitment 0.25, entropy 0.1, no
    activation and a norm without learnt scale before the signs. Channel 0 is the highest bit.

    Args:
        dim: width D of the latents.
        bits: number of channels that become bits, K = 2^bits; `dim` when None.
        commitment: weight of mean (latent - sign)^2.
        entropy: weight of sample entropy - `diversity` * codebook entropy.
        diversity: gamma in the entropy term.
        inverse_temperature: sharpness of the soft assignment in the entropy term.
        normalise: scale a position's channels to unit mean square before taking signs. The mean
            is not removed: no code with all bits equal could be reached then.
        spherical: L2-normalise latents and codes (binary spherical quantisation).
    """

    def __init__(
        self,
        dim: int,
        bits: int | None = None,
        *,
        commitment: float = 0.25,
        entropy: float = 0.1,
        diversity: float = 1.0,
        inverse_temperature: float = 100.0,
        normalise: bool = True,
        spherical: bool = False,
    ) -> None:
        from vector_quantize_pytorch import LFQ

        bits = bits or dim
        super().__init__(dim, bits, 2**bits)
        self.commitment = commitment
        self.entropy = entropy
        self.diversity = diversity
        self.inverse_temperature = inverse_temperature
        self.normalise = normalise
        # Kept in evaluation mode: the library's own entropy drops the result of its reduction
        # over processes, so the losses are computed here.
        self.lfq = LFQ(dim=bits, channel_first=False, spherical=spherical).eval()

    def train(self, mode: bool = True) -> LookupFreeQuantizer:
        """Set the mode of this module, never that of the library's."""
        super().train(mode)
        self.lfq.eval()
        return self

    def entropies(self, rows: Tensor) -> Entropies:
        """Entropies of the soft assignment of rows [B, N, bits], as they stand before the signs."""
        codes = self.lfq.maybe_l2norm(self.lfq.codebook.float())
        return code_entropies(rows.flatten(0, 1), codes, inverse_temperature=self.inverse_temperature)

    def _losses(self, rows: Tensor, quantised: Tensor) -> dict[str, Tensor]:
        """Weighted terms of rows and codes [B, N, bits]."""
        entropies = self.entropies(rows)
        return {
            "commitment": self.commitment * F.mse_loss(rows, quantised.detach()),
            "entropy": self.entropy * (entropies.sample - self.diversity * entropies.codebook),
        }

    def forward(self, latents: Tensor) -> Codes:
        """Quantise latents [B, D, h, w]; `losses` has `commitment` and `entropy` while training.

        The entropy term needs [B h w, K] numbers.
        """
        with torch.autocast(latents.device.type, enabled=False):
            rows = self._rows(latents)
            if self.normalise:
                rows = F.rms_norm(rows, rows.shape[-1:], eps=1e-6)
            rows = self.lfq.maybe_l2norm(rows)
            quantised, indices, _ = self.lfq(rows)
            losses = self._losses(rows, quantised) if self.training else {}
            straight = rows + (quantised - rows).detach() if self.training else quantised
            out = self._map(straight, *latents.shape[2:]).to(latents.dtype)
        return Codes(indices.long().unflatten(1, latents.shape[2:]), out, losses)

    def _codes(self, indices: Tensor) -> Tensor:
        return self.lfq.indices_to_codes(indices)


class FiniteScalarQuantizer(_Quantizer):
    """Every channel rounded to a few levels (FSQ, arXiv 2309.15505); no codebook, no loss.

    Args:
        levels: levels of each channel, at least 3; K is their product. The paper suggests
            (8, 5, 5, 5) for 1000 codes and (8, 8, 8, 5, 5, 5) for 64000.
        dim: width D of the latents, the number of levels when None.

    Raises:
        UserError: for an empty list or a level below 3.
    """

    def __init__(self, levels: Sequence[int], dim: int | None = None) -> None:
        if not levels or min(levels) < 3:
            raise UserError(f"levels {list(levels)}: finite scalar quantisation needs levels of at least 3")
        super().__init__(dim or len(levels), len(levels), math.prod(levels))
        self.levels = tuple(levels)
        self.fsq: nn.Module | None = None

    def _rounding(self, device: torch.device) -> nn.Module:
        """The library's layer, made when something is first encoded: its import costs more than a picture."""
        from vector_quantize_pytorch import FSQ

        if self.fsq is None:
            self.fsq = FSQ(list(self.levels)).to(device)
        return self.fsq

    def forward(self, latents: Tensor) -> Codes:
        """Quantise latents [B, D, h, w]; `losses` is empty."""
        with torch.autocast(latents.device.type, enabled=False):
            quantised, indices = self._rounding(latents.device)(self._rows(latents))
            out = self._map(quantised, *latents.shape[2:]).to(latents.dtype)
        return Codes(indices.long().unflatten(1, latents.shape[2:]), out, {})

    def _codes(self, indices: Tensor) -> Tensor:
        levels = torch.tensor(self.levels, device=indices.device)
        places = torch.tensor([math.prod(self.levels[:i]) for i in range(len(self.levels))], device=indices.device)
        half = levels // 2
        return ((indices[..., None] // places % levels - half) / half).float()
