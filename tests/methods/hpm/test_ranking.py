"""Losses that rank: differences alone count, constant predictions cost ln 2, equal losses do not count."""

import math

import pytest
import torch

from mimgen.methods.hpm.ranking import order_loss, ranked, value_loss


def test_order_loss_is_about_differences():
    generator = torch.Generator().manual_seed(1)
    predicted, losses = (torch.randn(3, 7, generator=generator) for _ in range(2))
    base = order_loss(predicted, losses)
    torch.testing.assert_close(order_loss(predicted + 5, losses), base)
    torch.testing.assert_close(order_loss(torch.ones(3, 7), losses), torch.tensor(math.log(2)), atol=1e-5, rtol=0)
    assert order_loss(10 * losses, losses) < 0.2 * base
    # one valid pair, both ways
    assert float(order_loss(torch.tensor([[0.0, 2.0]]), torch.tensor([[0.0, 1.0]]))) == pytest.approx(
        math.log(1 + math.exp(-2)), abs=1e-5
    )
    assert float(order_loss(predicted, torch.ones(3, 7))) == 0


def test_value_loss_is_about_standardised_losses():
    losses = torch.tensor([[1.0, 2.0, 3.0], [10.0, 30.0, 50.0]])
    assert float(value_loss(torch.tensor([[-1.0, 0.0, 1.0]]).repeat(2, 1), losses)) < 1e-6


def test_ranked_is_the_share_of_pairs_in_right_order():
    losses = torch.tensor([[1.0, 2.0, 3.0]])
    assert float(ranked(torch.tensor([[0.1, 0.2, 0.3]]), losses)) == 1
    assert float(ranked(torch.tensor([[0.1, 0.3, 0.2]]), losses)) == pytest.approx(2 / 3)
    assert float(ranked(torch.tensor([[3.0, 2.0, 1.0]]), losses)) == 0
