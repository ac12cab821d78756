"""MergeVQ's keep counts: squares, their probabilities, and plans that reach them exactly."""

import pytest

from mimgen.errors import UserError
from mimgen.layers.merge_schedule import possible
from mimgen.tokenizers.mergevq.schedule import (
    check_keep,
    keep_counts,
    layer_merge_schedule,
    official_merge_schedule,
    probabilities,
    reachable_squares,
)


@pytest.mark.parametrize(("tokens", "layers"), [(16, 2), (64, 2), (64, 4), (256, 12), (1024, 12)])
def test_every_reachable_square_is_reached(tokens: int, layers: int) -> None:
    for keep in reachable_squares(tokens, layers):
        plan = layer_merge_schedule(keep, tokens, layers)
        assert sum(plan) == tokens - keep and possible(plan, tokens + 1) == plan


@pytest.mark.parametrize(("tokens", "keep"), [(256, 144), (256, 121), (256, 64), (1024, 256), (1024, 225)])
def test_plans_are_the_official_ones(tokens: int, keep: int) -> None:
    assert layer_merge_schedule(keep, tokens, 12) == official_merge_schedule(tokens - keep, 12)


def test_known_plan() -> None:
    assert layer_merge_schedule(144, 256, 12) == (12, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 5)


@pytest.mark.parametrize("name", ["gaussian", "exponential", "uniform"])
def test_probabilities_sum_to_one(name: str) -> None:
    assert sum(probabilities(name, 6)) == pytest.approx(1)


def test_draws_follow_the_probabilities() -> None:
    counts = keep_counts(144, "gaussian-6")
    assert counts.counts == (121, 144, 169, 196, 225, 256)
    sampled = [counts.sample((i + 0.5) / 1000) for i in range(1000)]
    assert sampled.count(144) / 1000 == pytest.approx(probabilities("gaussian", 6)[1], abs=2e-3)
    assert counts.sample(0.0) == 121 and counts.sample(0.999999) == 256
    assert keep_counts(64, "exponential-3").counts == (64, 81, 100)
    assert keep_counts(64, None).sample(0.7) == 64


def test_a_keep_count_must_be_possible() -> None:
    check_keep(9, 16, reachable_squares(16, 2))
    for wrong in (0, -4, 5, 25, 1):
        with pytest.raises(UserError, match="keep one of 4, 9, 16"):
            check_keep(wrong, 16, reachable_squares(16, 2))
