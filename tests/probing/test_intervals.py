"""Intervals against tables, scipy and simulated coverage."""

import math

import pytest
import torch

from mimgen.errors import UserError
from mimgen.probing.intervals import bootstrap, bootstrap_difference, over_seeds, student_t


@pytest.mark.parametrize(
    ("freedom", "table"),
    [(1, 12.7062), (2, 4.3027), (3, 3.1824), (4, 2.7764), (9, 2.2622), (30, 2.0423), (101, 1.9837)],
)
def test_student_t_is_that_of_tables(freedom: int, table: float) -> None:
    assert student_t(0.975, freedom) == pytest.approx(table, abs=1e-4)


@pytest.mark.parametrize("probability", [0.6, 0.95, 0.9995])
def test_student_t_is_that_of_scipy(probability: float) -> None:
    stats = pytest.importorskip("scipy.stats")
    for freedom in (1, 2, 5, 6, 40):
        assert student_t(probability, freedom) == pytest.approx(stats.t.ppf(probability, freedom), rel=1e-8)


def test_interval_over_seeds() -> None:
    found = over_seeds([0.5, 0.6, 0.7])
    half = 4.302653 * 0.1 / math.sqrt(3)
    assert (found.mean, found.low, found.high) == pytest.approx((0.6, 0.6 - half, 0.6 + half), abs=1e-6)
    assert found.values == (0.5, 0.6, 0.7)
    assert str(found) == "60.0 ± 24.8"
    assert found.as_dict()["over"] == "seeds"


def test_one_seed_says_nothing_of_the_spread() -> None:
    assert over_seeds([0.5]).high == math.inf


def test_bootstrap_is_near_the_normal_interval() -> None:
    correct = (torch.arange(1000) % 4 == 0).double()
    found = bootstrap(correct, seed=0)
    half = 1.96 * math.sqrt(0.25 * 0.75 / 1000)
    assert found.mean == 0.25
    assert found.low == pytest.approx(0.25 - half, abs=0.004)
    assert found.high == pytest.approx(0.25 + half, abs=0.004)
    assert found == bootstrap(correct, seed=0)


def test_seeds_share_their_test_images() -> None:
    correct = (torch.arange(200) % 2).double()
    assert bootstrap(correct.expand(5, 200), seed=0) == bootstrap(correct, seed=0)


def test_pairs_tell_apart_what_single_intervals_do_not() -> None:
    second = (torch.arange(400) % 2).double()
    first = second.clone()
    first[:24:2] = 1  # 12 images better, none worse
    assert bootstrap(first, seed=0).low < bootstrap(second, seed=0).high
    found = bootstrap_difference(first, second, seed=0)
    assert found.mean == pytest.approx(0.03)
    assert found.low > 0


def test_broken_input_is_named() -> None:
    with pytest.raises(UserError, match="finite scores"):
        over_seeds([])
    with pytest.raises(UserError, match="finite scores"):
        over_seeds([0.5, math.nan])
    with pytest.raises(UserError, match="between 0 and 1"):
        over_seeds([0.5], level=95)
    with pytest.raises(UserError, match="at least one test image"):
        bootstrap(torch.zeros(0), seed=0)
    with pytest.raises(UserError, match="3 and 4 test images"):
        bootstrap_difference(torch.zeros(3), torch.zeros(4), seed=0)
