"""The cosine-rate mask of masked generators."""

import math

import pytest
import torch

from mimgen.masking import CosineRate, with_mask_token
from mimgen.masking.rate import ArccosRate, smallest
from mimgen.types import Mask, SampleRNG


def test_counts_follow_the_drawn_rate() -> None:
    mask, rates = CosineRate()(50, SampleRNG(range(40)))
    assert torch.equal(mask.masked.sum(1), (rates * 50).round().clamp(min=1).long())


def test_rates_have_the_arccos_density() -> None:
    _, rates = CosineRate()(4, SampleRNG(range(4000)))
    # mean of cos(pi u / 2) over u in [0, 1)
    assert abs(rates.mean().item() - 2 / math.pi) < 0.02


def test_lower_bound_and_at_least_one() -> None:
    mask, rates = CosineRate(minimum=0.9)(10, SampleRNG(range(20)))
    assert rates.min() >= 0.9 and mask.masked.sum(1).min() >= 9
    assert CosineRate()(1, SampleRNG(range(20)))[0].masked.all()


def test_a_share_of_rows_is_hidden_entirely() -> None:
    mask, rates = CosineRate(full_mask_prob=0.4)(64, SampleRNG(range(4000)))
    assert torch.equal(mask.masked.all(1), (rates * 64).round() == 64)
    assert abs((rates == 1).float().mean().item() - 0.4) < 0.03
    assert abs(rates[rates < 1].mean().item() - 2 / math.pi) < 0.02
    with pytest.raises(ValueError, match="full_mask_prob"):
        CosineRate(full_mask_prob=1.0)


def test_every_position_is_hidden_about_equally_often() -> None:
    mask, _ = CosineRate()(8, SampleRNG(range(3000)))
    share = mask.masked.float().mean(0)
    assert share.max() - share.min() < 0.06


def test_mask_token_goes_to_hidden_places_only() -> None:
    mask = Mask(torch.tensor([[True, False, True]]))
    assert with_mask_token(torch.tensor([[4, 5, 6]]), mask, 9).tolist() == [[9, 5, 9]]


def test_arccos_rates_invert_the_cosine() -> None:
    rng = SampleRNG(range(4000))
    mask, rates = ArccosRate()(12, rng)
    uniform = SampleRNG(range(4000)).uniform()
    assert torch.allclose(torch.cos(rates * math.pi / 2), uniform, atol=1e-6)
    assert torch.equal(mask.masked.sum(1), (rates * 12).round().clamp(min=1).long())
    # many rates near 0 and few near 1, unlike those of the cosine; the mean is the same
    assert abs(rates.mean().item() - 2 / math.pi) < 0.02
    assert (rates < 0.25).float().mean() < 0.1 < (CosineRate()(12, SampleRNG(range(4000)))[1] < 0.25).float().mean()


def test_the_smallest_of_each_row() -> None:
    noise = torch.tensor([[0.3, 0.1, 0.2], [0.5, 0.5, 0.1]])
    assert smallest(noise, torch.tensor([1, 2])).tolist() == [[False, True, False], [True, False, True]]
