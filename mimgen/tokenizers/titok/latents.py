"""What stands between TiTok's transformers: a quantiser, or a normal distribution."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from mimgen.errors import UserError
from mimgen.tokenizers.codebook import GradientCodebook
from mimgen.tokenizers.quantizers import FiniteScalarQuantizer, LookupFreeQuantizer, VectorQuantizer
from mimgen.types import Codes


@dataclass(frozen=True)
class Posterior:
    """A normal distribution of latents.

    Attributes:
        mean: [B, C, 1, T].
        log_variance: [B, C, 1, T], between -30 and 20.
    """

    mean: Tensor
    log_variance: Tensor

    @property
    def std(self) -> Tensor:
        """Standard deviation [B, C, 1, T]."""
        return (0.5 * self.log_variance).exp()

    def kl(self) -> Tensor:
        """Divergence from the standard normal distribution in nats, [B, T], summed over channels."""
        inside = self.mean.square() + self.log_variance.exp() - 1 - self.log_variance
        return 0.5 * inside.sum((1, 2))  # [B, T]


class Bottleneck(nn.Module):
    """Continuous latents: `Posterior` in, mean or sample out. It has no parameters.

    Args:
        dim: width C of a latent.
        weight: of the mean divergence.
    """

    codebook_size = 0

    def __init__(self, dim: int, weight: float) -> None:
        super().__init__()
        self.dim, self.weight = dim, weight

    def posterior(self, moments: Tensor) -> Posterior:
        """[B, 2 C, 1, T] -> distribution of latents [B, C, 1, T]."""
        mean, log_variance = moments.chunk(2, dim=1)  # [B, C, 1, T] each
        # latent diffusion's bounds: exp stays finite
        return Posterior(mean, log_variance.clamp(-30.0, 20.0))

    def forward(self, moments: Tensor, noise: Tensor | None = None) -> Codes:
        """Mean, or sample where there is `noise` [B, C, 1, T]; `losses` has `kl` while training."""
        posterior = self.posterior(moments)
        latents = posterior.mean if noise is None else posterior.mean + posterior.std * noise
        return Codes(None, latents, {"kl": self.weight * posterior.kl().mean()} if self.training else {})

    def lookup(self, indices: Tensor) -> Tensor:
        """Always a `UserError`: there is no codebook."""
        raise UserError("this TiTok is continuous and has no ids: decode its latents [B, D, 1, T] instead")


def quantizer_of(
    kind: str,
    token_size: int,
    codebook_size: int,
    levels: tuple[int, ...],
    cosine: bool,
    commitment: float,
    kl: float,
) -> nn.Module:
    """The quantiser that the arguments of `TiTok` ask for."""
    if kind == "vq":
        return GradientCodebook(token_size, codebook_size, cosine=cosine, commitment=commitment)
    if kind == "ema":
        return VectorQuantizer(token_size, codebook_size, cosine=cosine, commitment=commitment)
    if kind == "lfq":
        return LookupFreeQuantizer(token_size)
    if kind == "fsq":
        return FiniteScalarQuantizer(levels)
    if kind == "kl":
        return Bottleneck(token_size, kl)
    raise UserError(f'quantizer must be "vq", "ema", "lfq", "fsq" or "kl", got "{kind}"')
