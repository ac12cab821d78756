"""Temperatures, centres and pairs of views."""

import pytest
import torch

from mimgen.errors import UserError
from mimgen.methods.ibot.prototypes import Centre, Temperature, across_views, entropy_metrics


def test_the_temperature_rises_evenly_and_may_wait():
    rising = Temperature(0.04, 0.07, 4)
    assert [rising(step) for step in (0, 3, 4, 100)] == pytest.approx([0.04, 0.07, 0.07, 0.07])
    assert rising(1) == pytest.approx(0.05)
    late = Temperature(0.04, 0.07, 4, delay=2)
    assert [late(step) for step in (0, 2, 3, 5, 6)] == pytest.approx([0.04, 0.04, 0.05, 0.07, 0.07])
    assert Temperature(0.04, 0.07, 1)(0) == 0.04 and Temperature(0.04, 0.07)(0) == 0.07
    with pytest.raises(UserError, match="above 0"):
        Temperature(0.0, 0.1)


def test_a_centre_is_the_moving_average_of_batch_means():
    centre, expected = Centre(3, 0.8), torch.zeros(3)
    for seed in range(3):
        scores = 5 * torch.randn(4, 3, generator=torch.Generator().manual_seed(seed))
        centre.update(scores)
        expected = 0.8 * expected + 0.2 * scores.mean(0)
    torch.testing.assert_close(centre.value, expected)
    assert "value" in centre.state_dict()


def test_the_centre_is_taken_off_and_low_temperatures_sharpen():
    centre = Centre(2)
    centre.value.copy_(torch.tensor([1.0, 0.0]))
    torch.testing.assert_close(centre.probabilities(torch.tensor([1.0, 0.0]), 0.5), torch.tensor([0.5, 0.5]))
    sharp = centre.probabilities(torch.tensor([1.0, 0.1]), 0.01)
    assert float(sharp[1]) > 0.99 and not sharp.requires_grad


def test_a_view_is_not_compared_with_itself():
    teacher = torch.rand(2, 3, 5).softmax(-1)
    student = torch.randn(4, 3, 5).log_softmax(-1)
    pairs = [-(teacher[q] * student[v]).sum(-1).mean() for q in range(2) for v in range(4) if q != v]
    torch.testing.assert_close(across_views(teacher, student), torch.stack(pairs).mean())
    assert float(across_views(teacher[:1], student[:1])) == 0


def test_spread_tells_both_ways_of_collapsing():
    one_wins = torch.tensor([[1.0, 0, 0, 0]]).expand(6, 4)
    all_alike = torch.full((6, 4), 0.25)
    apart = torch.eye(4)
    for probabilities, marginal_entropy, teacher_entropy in ((one_wins, 0, 0), (all_alike, 1, 1), (apart, 1, 0)):
        found = {name: float(value) for name, value in entropy_metrics(probabilities).items()}
        assert found == pytest.approx({"marginal_entropy": marginal_entropy, "teacher_entropy": teacher_entropy})
