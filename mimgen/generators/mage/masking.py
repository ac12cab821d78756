"""MAGE's two-level masks: of the masked tokens, a fixed share is dropped and the others are replaced."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from mimgen.errors import UserError
from mimgen.masking.rate import smallest
from mimgen.types import Mask, SampleRNG

# A rate such as 0.55 lies a hair above itself in float32; 100 of it are meant to be 55.
_SLACK = 1e-7


@dataclass(frozen=True)
class TwoLevel:
    """ceil(rate * N) masked tokens, of which ceil(least * N) are dropped (MAGE, section 3.1).

    The rate is sampled for each image from a normal distribution truncated to [least, 1]. The official code
    samples one for a batch; here an image's mask depends on its own stream only. All images drop
    the same number of tokens, so the encoder sees equally many of each.

    Attributes:
        minimum: smallest rate, and the share that is dropped.
        mean: of the normal distribution.
        deviation: its standard deviation.

    Raises:
        UserError: a share outside (0, 1), or a deviation that is not above 0.
    """

    minimum: float = 0.5
    mean: float = 0.55
    deviation: float = 0.25

    def __post_init__(self) -> None:
        if not 0 < self.minimum < 1:
            raise UserError(f"minimum={self.minimum}: choose a share above 0 and below 1")
        if self.deviation <= 0:
            raise UserError(f"deviation={self.deviation}: choose a number above 0")

    def __call__(self, tokens: int, rng: SampleRNG) -> tuple[Mask, Mask]:
        """The masked and the dropped tokens, both [B, N] for N = `tokens`.

        Raises:
            UserError: every token would be dropped.
        """
        return self.split(rng.uniform(tokens), self.rates(rng.uniform()))

    def rates(self, uniform: Tensor) -> Tensor:
        """[B] rates in [least, 1] from uniform numbers [B]: the inverse of the distribution function."""
        low, high = (torch.tensor((end - self.mean) / self.deviation).double() for end in (self.minimum, 1.0))
        low, high = torch.special.ndtr(low), torch.special.ndtr(high)
        sampled = torch.special.ndtri(low + uniform.double() * (high - low))
        return (self.mean + self.deviation * sampled).clamp(self.minimum, 1.0).float()

    def split(self, noise: Tensor, rates: Tensor) -> tuple[Mask, Mask]:
        """The masked and the dropped tokens: those of the smallest noise [B, N], for rates [B] or [1]."""
        count = noise.shape[1]
        dropped = math.ceil(count * (self.minimum - _SLACK))
        if dropped >= count:
            raise UserError(f"minimum={self.minimum} drops all {count} tokens of an image: choose a smaller share")
        masked = (count * (rates.double() - _SLACK)).ceil().clamp(dropped, count).to(noise.device).expand(len(noise))
        return Mask(smallest(noise, masked)), Mask(smallest(noise, torch.full_like(masked, dropped)))
