"""The fusion of layers: shares add to one and learn; one layer comes out as it is."""

import pytest
import torch

from mimgen.errors import UserError
from mimgen.methods.mff.fusion import LayerFusion
from mimgen.training.optim import decay_split


def levels(count=3):
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(2, 5, 8, generator=generator) for _ in range(count)]


def test_shares_start_even_add_to_one_and_get_gradient():
    torch.manual_seed(0)
    fusion = LayerFusion(8, 3)
    torch.testing.assert_close(fusion.shares, torch.full((3,), 1 / 3))
    fusion(levels()).square().sum().backward()
    assert fusion.weights.grad.abs().min() > 0
    with torch.no_grad():
        fusion.weights.copy_(torch.tensor([3.0, -1.0, 0.5]))
    assert float(fusion.shares.sum().detach()) == pytest.approx(1)
    assert fusion.shares.argmax() == 0


def test_the_sum_is_that_of_the_paper():
    fusion, given = LayerFusion(8, 3), levels()
    with torch.no_grad():
        fusion.weights.copy_(torch.tensor([1.0, 2.0, 0.0]))
    a, b, c = fusion.weights.softmax(0)
    expected = a * fusion.proj[0](given[0]) + b * fusion.proj[1](given[1]) + c * given[2]
    torch.testing.assert_close(fusion(given), expected)


def test_one_layer_is_untouched_and_learns_nothing():
    fusion, (given,) = LayerFusion(8, 1), levels(1)
    assert torch.equal(fusion([given]), given)
    assert not any(parameter.requires_grad for parameter in fusion.parameters())
    assert not LayerFusion(8, 3, learned=False).weights.requires_grad


def test_weight_decay_leaves_the_shares_alone():
    fusion = LayerFusion(8, 3)
    decayed, exempt = decay_split(fusion)
    assert any(parameter is fusion.weights for parameter in exempt)
    assert not any(parameter is fusion.weights for parameter in decayed)


def test_what_does_not_fit_is_named():
    with pytest.raises(UserError, match="at least 1"):
        LayerFusion(8, 0)
    with pytest.raises(UserError, match="2 levels for a fusion of 3"):
        LayerFusion(8, 3)(levels(2))
