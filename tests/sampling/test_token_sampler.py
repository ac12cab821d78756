"""Sampling tokens: two ways of one distribution, temperature, top-k, scores."""

import pytest
import torch

from mimgen.errors import UserError
from mimgen.sampling import unmask
from mimgen.sampling.token_sampler import TokenSampler
from mimgen.types import SampleRNG

LOGITS = torch.tensor([1.0, 2.0, 0.0, -1.0])


def shares(token_sampler: TokenSampler, temperature: float, top_k: int | None = None) -> torch.Tensor:
    count, generator = 20_000, torch.Generator().manual_seed(0)
    uniform = torch.rand(1, count, *([4] if token_sampler.gumbel_codes else []), generator=generator)
    sampled = token_sampler.tokens(LOGITS.expand(1, count, 4), uniform, temperature, top_k)
    return sampled.tokens[0].bincount(minlength=4) / count


@pytest.mark.parametrize("codes", [0, 4])
@pytest.mark.parametrize(("temperature", "top_k"), [(1.0, None), (0.5, None), (2.0, 2), (0.0, None)])
def test_both_ways_follow_the_distribution(codes: int, temperature: float, top_k: int | None) -> None:
    if temperature == 0:
        expected = torch.tensor([0.0, 1, 0, 0])
    else:
        kept = LOGITS if top_k is None else LOGITS.masked_fill(LOGITS < 1, float("-inf"))
        expected = (kept / temperature).softmax(-1)
    assert torch.allclose(shares(TokenSampler(gumbel_codes=codes), temperature, top_k), expected, atol=0.015)


def test_scores() -> None:
    uniform = torch.full((1, 1), 0.5)
    plain = TokenSampler().tokens(LOGITS.view(1, 1, 4), uniform, 0.0)
    raw = TokenSampler("logit").tokens(LOGITS.view(1, 1, 4), uniform, 0.0)
    assert plain.scores.item() == pytest.approx(LOGITS.log_softmax(-1)[1].item())
    assert raw.scores.item() == 2.0
    assert torch.equal(raw.log_probs, plain.log_probs)


def test_mistakes_are_named() -> None:
    with pytest.raises(UserError, match="'logit'"):
        TokenSampler("entropy")
    with pytest.raises(UserError, match="make them equal"):
        TokenSampler(gumbel_codes=5).tokens(LOGITS.view(1, 1, 4), torch.rand(1, 1, 4))


def revealed_first(logit_temperature: float, score: str) -> int:
    logits = torch.tensor([[4.0, 0.0, 0.0], [5.0, 4.9, 4.9]])  # sure of a small one, unsure of a large one

    def predict(tokens: torch.Tensor, positions: torch.Tensor, step: int, guided: bool) -> torch.Tensor:
        return logits[positions]

    result = unmask(
        predict, torch.full((1, 2), 3), mask_id=3, steps=2, rng=SampleRNG([0]), grid=(1, 2), token_temperature=0.0,
        choice_temperature=(0.0, 0.0), logit_temperature=logit_temperature, token_sampler=TokenSampler(score),
    )  # fmt: skip
    return int(result.unmasked_at[0].argmin())


def test_the_score_decides_who_stays() -> None:
    assert revealed_first(1.0, "probability") == 0
    assert revealed_first(1.0, "logit") == 1


def test_logit_temperature_reaches_the_log_probs() -> None:
    def predict(tokens: torch.Tensor, positions: torch.Tensor, step: int, guided: bool) -> torch.Tensor:
        return LOGITS.expand(*positions.shape, 4)

    options = {"mask_id": 4, "steps": 1, "rng": SampleRNG([0]), "grid": (1, 1), "token_temperature": 0.0}
    result = unmask(predict, torch.full((1, 1), 4), logit_temperature=0.5, **options)
    assert result.log_probs.item() == pytest.approx((2 * LOGITS).log_softmax(-1)[1].item())
    with pytest.raises(UserError, match="logit temperature"):
        unmask(predict, torch.full((1, 1), 4), logit_temperature=0.0, **options)
