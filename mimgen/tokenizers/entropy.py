"""Entropies of soft code assignments, the loss of lookup-free quantisation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from mimgen.tokenizers.ranks import shared_mean


@dataclass(frozen=True)
class Entropies:
    """Entropies in nats of soft code assignments, both scalars.

    Attributes:
        sample: mean entropy of one position's distribution over codes; low means decided.
        codebook: entropy of the mean distribution; high means that all codes are in use.
    """

    sample: Tensor
    codebook: Tensor


def code_entropies(
    latents: Tensor,
    codes: Tensor,
    *,
    inverse_temperature: float = 100.0,
    logarithm: Literal["clamp", "shift"] = "clamp",
) -> Entropies:
    """Entropies of p(code | latent) = softmax(2 t <latent, code>) (MAGVIT-v2, equation 4).

    Args:
        latents: [n, D] float32.
        codes: [K, D] float32.
        inverse_temperature: t in the formula.
        logarithm: "clamp" takes log max(p, 1e-5) as vector-quantize-pytorch does; "shift" takes
            the exact logarithm for the sample and log(p + 1e-5) for the codebook, as
            Open-MAGVIT2 does. They differ in the third digit.

    The mean distribution is taken over all processes.
    """
    logits = 2.0 * inverse_temperature * latents @ codes.T
    probabilities = logits.softmax(-1)
    mean = shared_mean(probabilities.mean(0))
    if logarithm == "clamp":
        sample = -(probabilities * probabilities.clamp(min=1e-5).log()).sum(-1)
        codebook = -(mean * mean.clamp(min=1e-5).log()).sum()
    else:
        sample = -(probabilities * logits.log_softmax(-1)).sum(-1)
        codebook = -(mean * (mean + 1e-5).log()).sum()
    return Entropies(sample.mean(), codebook)
