"""What the samplers of Halton-MaskGIT need beside the usual: counts of known tokens, sampling again, the mask id."""

from itertools import pairwise

import pytest
import torch

from mimgen.errors import UserError
from mimgen.sampling import Arccos, Cosine, Guidance, Linear, Raster, unmask
from mimgen.sampling.schedules import CountSchedule, Power
from mimgen.sampling.temperatures import Ramp
from mimgen.sampling.token_sampler import TokenSampler
from mimgen.types import SampleRNG

CODES, COUNT = 6, 12


class Predictor:
    """Logits by position and step; with `masks` the mask id is scored, too."""

    def __init__(self, masks: float | None = None) -> None:
        self.logits = torch.randn(20, COUNT, CODES, generator=torch.Generator().manual_seed(0))
        if masks is not None:
            self.logits = torch.cat([self.logits, torch.full((20, COUNT, 1), masks)], dim=2)
        self.requested: list[int] = []

    def __call__(self, tokens: torch.Tensor, positions: torch.Tensor, step: int, guided: bool) -> torch.Tensor:
        self.requested.append(positions.shape[1])
        return self.logits[step].expand(len(tokens), -1, -1).gather(
            1, positions[..., None].expand(-1, -1, self.logits.shape[2])
        )


def token_sampler(predict: Predictor, tokens: torch.Tensor | None = None, **options: object):
    start = torch.full((2, COUNT), CODES) if tokens is None else tokens
    shown: list[torch.Tensor] = []
    given: dict = {"mask_id": CODES, "steps": 4, "rng": SampleRNG([1, 2]), "grid": (3, 4), **options}
    result = unmask(predict, start, on_step=lambda step, now: shown.append(now), **given)
    return result, shown


def masked(shown: list[torch.Tensor]) -> list[int]:
    return [int((tokens[0] == CODES).sum()) for tokens in shown]


@pytest.mark.parametrize("schedule", [Cosine(), Linear(), Arccos(), Power(2.0), Power(0.5), Cosine(precise=True)])
def test_known_is_what_is_not_masked(schedule) -> None:
    for ratio in (0.1, 0.5, 0.9, 1.0):
        assert schedule.known(ratio) == pytest.approx(1 - schedule(ratio), abs=1e-6)
    assert schedule.known(0.0) == 0.0


def test_counts_of_known_tokens() -> None:
    counts = torch.tensor([36])
    steps = [int(CountSchedule(Arccos()).masked(step, 6, counts)) for step in range(6)]
    assert steps == [33, 29, 25, 20, 14, 0]  # 36 / 3 known tokens after half of the steps are 11 in float32
    late = [int(CountSchedule(Linear(), from_start=True).masked(step, 5, torch.tensor([8]))) for step in range(5)]
    assert late == [7, 6, 4, 2, 0]  # the first step reveals one although the schedule says none
    assert int(CountSchedule(Power(4.0)).masked(2, 40, counts)) == 33  # and so does every step


def test_float64_decides_where_the_cosine_is_one_half() -> None:
    assert (36 * Cosine()(4 / 6), 36 * Cosine(precise=True)(4 / 6)) == (pytest.approx(18), pytest.approx(18))
    assert Cosine()(4 / 6) < 0.5 <= Cosine(precise=True)(4 / 6)


def test_the_sampler_counts_known_tokens() -> None:
    _, shown = token_sampler(Predictor(), steps=5, schedule=CountSchedule(Linear(), from_start=True))
    assert masked(shown) == [11, 9, 6, 3, 0]


def test_drawn_again_until_the_end() -> None:
    options: dict = {
        "steps": 5,
        "schedule": CountSchedule(Linear(), from_start=True),
        "choice_temperature": Ramp(1.0, 0.0),
    }
    predict = Predictor()
    again, shown = token_sampler(predict, resample=True, **options)
    assert predict.requested == [COUNT] * 5  # every position in every step
    once, kept = token_sampler(Predictor(), **options)
    assert masked(shown) == masked(kept) == [11, 9, 6, 3, 0]
    assert any(bool((a[a != CODES] != b[a != CODES]).any()) for a, b in pairwise(shown))
    assert all(bool((a[a != CODES] == b[a != CODES]).all()) for a, b in pairwise(kept))
    assert bool((again.unmasked_at == 4).all()) and not bool((once.unmasked_at == 4).all())


def test_given_tokens_are_not_drawn_again() -> None:
    tokens = torch.full((2, COUNT), CODES)
    tokens[:, :5] = 3
    result, _ = token_sampler(Predictor(), tokens, resample=True)
    assert bool((result.tokens[:, :5] == 3).all())
    assert bool((result.tokens < CODES).all())


def test_the_mask_id_may_be_drawn_where_asked_for() -> None:
    with pytest.raises(UserError, match="include the mask id"):
        token_sampler(Predictor(masks=0.0))
    fixed, _ = token_sampler(Predictor(masks=30.0), mask_logit=True, order=Raster())
    assert bool((fixed.tokens == CODES).all()) and bool((fixed.unmasked_at >= 0).all())
    _, shown = token_sampler(Predictor(masks=1.0), mask_logit=True, resample=True, schedule=CountSchedule(Linear()))
    assert any(now > 12 - 3 * (step + 1) for step, now in enumerate(masked(shown)))
    with pytest.raises(UserError, match="order by confidence only"):
        token_sampler(Predictor(), resample=True, order=Raster())


def test_guidance_from_none_to_all() -> None:
    guidance = Guidance(5.0, rule="ramp")
    assert [guidance.weight(step, 5) for step in range(5)] == [1.0, 2.0, 3.0, 4.0, 5.0]
    assert guidance.weight(0, 1) == 1.0


def test_the_likeliest_lie_in_descending_order() -> None:
    logits = torch.tensor([0.1, 0.5, 0.3, 0.1]).log().expand(1, 4, 4)
    sampled = TokenSampler().tokens(logits, torch.tensor([[0.0, 0.6, 0.7, 0.99]]), top_k=2)
    assert sampled.tokens.tolist() == [[1, 1, 2, 2]]  # 0.625 of it is code 1
