"""Lookup-free quantisation: the signs of the channels are the code."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mimgen.errors import UserError
from mimgen.tokenizers.entropy import Entropies, Logarithm, binary_entropies
from mimgen.tokenizers.quantizers.base import Quantizer
from mimgen.types import Codes

# 2^24 mean probabilities are 64 MiB; ids of more bits would also need embeddings nobody can hold.
MAX_BITS = 24


class _BitWeights(nn.Module):
    """Value of each bit in the id, highest first or lowest first.

    Saved under the name that the library's layer has for it, so that files go both ways; official
    little-endian releases save nothing.
    """

    mask: Tensor

    def __init__(self, bits: int, little_endian: bool) -> None:
        super().__init__()
        values = 2 ** torch.arange(bits)
        self.register_buffer("mask", values if little_endian else values.flip(0), persistent=not little_endian)


class LookupFreeQuantizer(Quantizer):
    """The sign of every channel as one bit of the token id (LFQ, MAGVIT-v2).

    The defaults are those that its users found to work: commitment 0.25, entropy 0.1, no
    activation and a norm without learnt scale before the signs. Zero counts as negative. No table of codes
    and no token x code matrix exists, so 2^18 codes cost hardly more than 2^10.

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
        little_endian: channel j is bit j of the id, as in Open-MAGVIT2 and MergeVQ; by default
            channel 0 is the highest bit, as in vector-quantize-pytorch.
        logarithm: convention of the entropies, see `binary_entropies`.

    Raises:
        UserError: for a number of bits outside 1..24.
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
        little_endian: bool = False,
        logarithm: Logarithm = "clamp",
    ) -> None:
        bits = dim if bits is None else bits
        if not 1 <= bits <= MAX_BITS:
            raise UserError(
                f"{bits} bits would make 2^{bits} codes: give 1 to {MAX_BITS} bits (the latent width, or `bits`)"
            )
        super().__init__(dim, bits, 2**bits)
        self.commitment = commitment
        self.entropy = entropy
        self.diversity = diversity
        self.inverse_temperature = inverse_temperature
        self.normalise = normalise
        self.spherical = spherical
        self.logarithm: Logarithm = logarithm
        # Size of a code's entries.
        self.scale = bits**-0.5 if spherical else 1.0  # bits entries of this size make a vector of length 1
        self.lfq = _BitWeights(bits, little_endian)

    def entropies(self, rows: Tensor) -> Entropies:
        """Entropies of the soft assignment of rows [B, N, bits], as they stand before the signs."""
        return binary_entropies(
            rows.flatten(0, 1) * self.scale,
            inverse_temperature=self.inverse_temperature,
            logarithm=self.logarithm,
        )

    def _losses(self, rows: Tensor, quantised: Tensor) -> dict[str, Tensor]:
        """Weighted terms of rows and codes [B, N, bits]."""
        losses = {"commitment": self.commitment * F.mse_loss(rows, quantised.detach())}
        if self.entropy:
            entropies = self.entropies(rows)
            losses["entropy"] = self.entropy * (entropies.sample - self.diversity * entropies.codebook)
        return losses

    def forward(self, latents: Tensor) -> Codes:
        """Quantise latents [B, D, h, w]; `losses` has `commitment` and `entropy` while training."""
        with torch.autocast(latents.device.type, enabled=False):
            rows = self._rows(latents)  # [B, N, bits]
            if self.normalise:
                rows = F.rms_norm(rows, rows.shape[-1:], eps=1e-6)
            if self.spherical:
                rows = F.normalize(rows, dim=-1)
            positive = rows > 0  # zero is negative, as in the releases
            indices = (positive * self.lfq.mask).sum(-1)  # [B, N]
            quantised = self._signs(positive)
            losses = self._losses(rows, quantised) if self.training else {}
            straight = rows + (quantised - rows).detach() if self.training else quantised
            out = self._map(straight, *latents.shape[2:]).to(latents.dtype)  # [B, D, h, w]
        return Codes(indices.unflatten(1, latents.shape[2:]), out, losses)

    def _signs(self, positive: Tensor) -> Tensor:
        """Booleans of any shape to entries of a code."""
        return torch.where(positive, self.scale, -self.scale).float()

    def _codes(self, indices: Tensor) -> Tensor:
        return self._signs((indices[..., None] & self.lfq.mask) != 0)  # [..., bits]
