"""Sampling a token from its logits, and the score by which the sure ones stay.

Both ways of sampling follow the same distribution; they differ in the random numbers they use.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from mimgen.errors import UserError
from mimgen.ops.gumbel import gumbel, log_clamped, sample_by_inverse_cdf


@dataclass(frozen=True)
class SampledTokens:
    """Sampled tokens.

    Attributes:
        tokens: [B, M] int64.
        log_probs: [B, M] log probability before temperature and top-k.
        scores: [B, M] by which tokens compete for staying; the larger the surer.
    """

    tokens: Tensor
    log_probs: Tensor
    scores: Tensor


@dataclass(frozen=True)
class TokenSampler:
    """How a token is sampled and what its confidence is.

    Attributes:
        score: "probability" is log p of the sampled token before temperature and top-k (MaskGIT); "logit" the
            logit itself (TiTok), which grows with the strength of the guidance.
        gumbel_codes: 0 samples by the inverse of the distribution function from one uniform number a position. The
            number of codes K samples argmax(logits + T * Gumbel noise) from K numbers a position instead, as
            TiTok's release does: the same distribution at K times the random numbers.
    """

    score: Literal["probability", "logit"] = "probability"
    gumbel_codes: int = 0

    def __post_init__(self) -> None:
        if self.score not in ("probability", "logit"):
            raise UserError(f"score {self.score!r}: use 'probability' or 'logit'")

    def tokens(
        self, logits: Tensor, uniform: Tensor, temperature: float = 1.0, top_k: int | None = None
    ) -> SampledTokens:
        """Sample one token for each position.

        Args:
            logits: [B, M, K] float32.
            uniform: [B, M] numbers in [0, 1), or [B, M, K] where `gumbel_codes` is set.
            temperature: divides the logits of the sample; 0 takes the likeliest token.
            top_k: sample among the k likeliest tokens only.

        Raises:
            UserError: the logits are not of `gumbel_codes` codes.
        """
        # One softmax over the codes serves the sample and the confidence: it costs as much as the head itself.
        probabilities = logits.softmax(-1)
        if self.gumbel_codes:
            sampled = self._by_noise(logits, uniform, temperature, top_k)
        elif temperature == 0:
            sampled = probabilities.argmax(-1)
        elif temperature == 1 and top_k is None:
            sampled = sample_by_inverse_cdf(probabilities, uniform)
        else:
            sampled = _sample_likeliest(logits / temperature, uniform, top_k or logits.shape[-1])
        log_probs = log_clamped(_chosen(probabilities, sampled))
        return SampledTokens(sampled, log_probs, log_probs if self.score == "probability" else _chosen(logits, sampled))

    def _by_noise(self, logits: Tensor, uniform: Tensor, temperature: float, top_k: int | None) -> Tensor:
        if logits.shape[-1] != self.gumbel_codes:
            raise UserError(
                f"{logits.shape[-1]} logits per token, but gumbel_codes={self.gumbel_codes}: make them equal"
            )
        return (_likeliest(logits, top_k) + temperature * gumbel(uniform)).argmax(-1)


PLAIN = TokenSampler()


def _sample_likeliest(logits: Tensor, uniform: Tensor, top_k: int) -> Tensor:
    """Sample among the `top_k` likeliest, which lie in descending order as in the sampler of Halton-MaskGIT."""
    if top_k >= logits.shape[-1]:
        return sample_by_inverse_cdf(logits.softmax(-1), uniform)
    values, codes = logits.topk(top_k, dim=-1)
    return _chosen(codes, sample_by_inverse_cdf(values.softmax(-1), uniform))  # from ranks back to codes


def _chosen(values: Tensor, sampled: Tensor) -> Tensor:
    return values.gather(-1, sampled.unsqueeze(-1)).squeeze(-1)  # [...]


def _likeliest(logits: Tensor, top_k: int | None) -> Tensor:
    """The `top_k` largest logits; the others are minus infinity."""
    if top_k is None or top_k >= logits.shape[-1]:
        return logits
    values, codes = logits.topk(top_k, dim=-1)
    return torch.full_like(logits, float("-inf")).scatter(-1, codes, values)
