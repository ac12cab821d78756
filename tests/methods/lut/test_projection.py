"""Projection heads: what stands between the maps, and that nothing stands behind the last."""

import pytest
import torch
from torch import nn

from mimgen.errors import UserError
from mimgen.methods.lut.projection import projection_head


@pytest.mark.parametrize(("norm", "kind"), [("batch", nn.BatchNorm1d), ("layer", nn.LayerNorm), ("none", nn.Identity)])
def test_layers(norm, kind):
    head = projection_head(8, 12, 5, 3, norm, "gelu")
    assert [type(layer) for layer in head] == [nn.Linear, kind, nn.GELU, nn.Linear, kind, nn.GELU, nn.Linear]
    assert all(layer.bias is None for layer in head if isinstance(layer, nn.Linear))
    assert head(torch.randn(4, 8)).shape == (4, 5)


def test_one_map_or_none():
    assert [tuple(layer.weight.shape) for layer in projection_head(8, 12, depth=1)] == [(8, 8)]
    x = torch.randn(4, 8)
    assert torch.equal(projection_head(8, depth=0)(x), x)


def test_unknown_words_are_named():
    with pytest.raises(UserError, match="batch, layer, none"):
        projection_head(8, norm="group")
    with pytest.raises(UserError, match="relu, gelu"):
        projection_head(8, activation="tanh")
