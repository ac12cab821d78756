"""MAGE's two-level masks: counts, subsets, the distribution of the rate, own streams, messages."""

import math

import pytest
import torch

from mimgen.errors import UserError
from mimgen.generators.mage.masking import TwoLevel
from mimgen.types import SampleRNG


def test_equally_many_are_dropped_and_all_of_them_are_masked() -> None:
    masked, dropped = TwoLevel(minimum=0.4)(36, SampleRNG(range(50)))
    assert dropped.masked.sum(1).tolist() == [15] * 50  # ceil(14.4)
    assert not bool((dropped.masked & ~masked.masked).any())
    counts = masked.masked.sum(1)
    assert int(counts.min()) >= 15 and len(counts.unique()) > 5
    assert dropped.keep.shape == (50, 21)


def test_counts_are_rounded_up_and_whole_numbers_stay() -> None:
    noise = torch.rand(1, 100, generator=torch.Generator().manual_seed(0))
    for rate, count in ((0.55, 55), (0.551, 56), (1.0, 100), (0.5, 50)):
        masked, dropped = TwoLevel().split(noise, torch.tensor([rate]))
        assert (int(masked.masked.sum()), int(dropped.masked.sum())) == (count, 50)


def test_the_smallest_noise_is_dropped() -> None:
    noise = torch.tensor([[0.9, 0.1, 0.3, 0.2, 0.5, 0.6]])
    masked, dropped = TwoLevel(minimum=0.5).split(noise, torch.tensor([0.6]))
    assert dropped.masked.nonzero()[:, 1].tolist() == [1, 2, 3]
    assert masked.masked.nonzero()[:, 1].tolist() == [1, 2, 3, 4]


def test_rates_follow_the_truncated_normal() -> None:
    rates = TwoLevel().rates((torch.arange(20_000) + 0.5) / 20_000)
    assert float(rates.min()) >= 0.5 and float(rates.max()) <= 1
    low, high = (0.5 - 0.55) / 0.25, (1 - 0.55) / 0.25

    def density(x: float) -> float:
        return math.exp(-x * x / 2) / math.sqrt(2 * math.pi)

    def share(x: float) -> float:
        return 0.5 * (1 + math.erf(x / math.sqrt(2)))

    mean = 0.55 + 0.25 * (density(low) - density(high)) / (share(high) - share(low))
    assert float(rates.mean()) == pytest.approx(mean, abs=1e-4)


def test_a_row_depends_on_its_own_stream() -> None:
    together, alone = TwoLevel()(24, SampleRNG([3, 7])), TwoLevel()(24, SampleRNG([7]))
    for many, one in zip(together, alone, strict=True):
        assert torch.equal(many.masked[1], one.masked[0])


@pytest.mark.parametrize("options", [{"minimum": 0.0}, {"minimum": 1.0}, {"minimum": -0.1}, {"deviation": 0.0}])
def test_messages(options: dict) -> None:
    with pytest.raises(UserError, match="choose a"):
        TwoLevel(**options)


def test_something_is_seen() -> None:
    with pytest.raises(UserError, match="drops all 4 tokens"):
        TwoLevel(minimum=0.99)(4, SampleRNG([0]))
