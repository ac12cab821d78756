"""LARS against its formula worked out by hand."""

import pytest
import torch

from mimgen.training.lars import Lars


def test_matrices_move_by_a_share_of_their_length() -> None:
    weight = torch.nn.Parameter(torch.tensor([[3.0, 4.0]]))
    optimizer = Lars([weight], lr=2.0, weight_decay=0.0, momentum=0.9, trust=0.01)
    weight.grad = torch.tensor([[0.0, 7.0]])
    optimizer.step()
    # length 5, gradient 7: the step is 2 * 0.01 * 5 along the gradient's direction
    assert torch.allclose(weight.detach(), torch.tensor([[3.0, 3.9]]))
    weight.grad = torch.tensor([[0.0, 0.0]])
    optimizer.step()
    # velocity 0.9 * 0.05; a gradient of 0 adds nothing
    assert torch.allclose(weight.detach(), torch.tensor([[3.0, 3.81]]))


def test_decay_enters_the_scaled_update() -> None:
    weight = torch.nn.Parameter(torch.tensor([[3.0, 4.0]]))
    optimizer = Lars([weight], lr=1.0, weight_decay=0.5, momentum=0.0, trust=0.1)
    weight.grad = torch.tensor([[1.0, -1.0]])
    optimizer.step()
    update = torch.tensor([[2.5, 1.0]])
    assert torch.allclose(weight.detach(), torch.tensor([[3.0, 4.0]]) - 0.1 * 5 / update.norm() * update)


def test_biases_are_plain_momentum() -> None:
    bias = torch.nn.Parameter(torch.tensor([1.0, 2.0]))
    optimizer = Lars([bias], lr=0.1, weight_decay=0.5, momentum=0.5)
    for _ in range(2):
        bias.grad = torch.tensor([1.0, 0.0])
        optimizer.step()
    assert torch.allclose(bias.detach(), torch.tensor([1 - 0.1 - 0.15, 2.0]))


def test_weights_of_zero_still_move() -> None:
    weight = torch.nn.Parameter(torch.zeros(2, 2))
    weight.grad = torch.ones(2, 2)
    Lars([weight], lr=0.5).step()
    assert torch.allclose(weight.detach(), torch.full((2, 2), -0.5))


def test_negative_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="trust must not be negative"):
        Lars([torch.nn.Parameter(torch.zeros(1))], lr=0.1, trust=-1)
