"""Layer-wise decay of the learning rate."""

from __future__ import annotations

import pytest
from torch import nn

from mimgen.encoders import VitEncoder
from mimgen.errors import UserError
from mimgen.probing.layer_decay import block_lists, layer_of, parameter_groups

HEAD = nn.Linear(8, 2)


def vit(depth: int = 3) -> VitEncoder:
    return VitEncoder(image_size=8, patch=4, width=8, depth=depth, heads=2)


def test_rates_fall_by_the_factor_from_layer_to_layer():
    encoder = vit()
    groups = parameter_groups(encoder, HEAD, decay=0.5, weight_decay=0.1)
    scale = {id(part): group["scale"] for group in groups for part in group["params"]}
    expected = {
        "patch_embed": 0.5**4, "cls_token": 0.5**4, "pos_embed": 0.5**4, "blocks.0": 0.5**3,
        "blocks.1": 0.5**2, "blocks.2": 0.5, "norm": 1.0,
    }  # fmt: skip
    for name, parameter in encoder.named_parameters():
        prefix = next(key for key in expected if name.startswith(key))
        assert scale[id(parameter)] == expected[prefix], name
    assert scale[id(HEAD.weight)] == scale[id(HEAD.bias)] == 1.0
    assert len(scale) == len(list(encoder.parameters())) + 2  # each exactly once


def test_biases_norms_and_tokens_do_not_decay():
    encoder = vit()
    falls = {
        id(part): group["weight_decay"]
        for group in parameter_groups(encoder, HEAD, decay=1.0, weight_decay=0.1)
        for part in group["params"]
    }
    for name, parameter in encoder.named_parameters():
        free = parameter.ndim < 2 or name in ("cls_token", "pos_embed")
        assert falls[id(parameter)] == (0.0 if free else 0.1), name


class _TwoStreams(nn.Module):
    """A stem with as many parts as there are blocks, and blocks in two lists."""

    depth = 5

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
        self.trunk = nn.Module()
        self.trunk.pair = nn.ModuleList(nn.Linear(2, 2) for _ in range(2))
        self.trunk.single = nn.ModuleList(nn.Linear(2, 2) for _ in range(3))


def test_blocks_in_two_lists_count_on():
    encoder = _TwoStreams()
    assert block_lists(encoder) == ["trunk.pair", "trunk.single"]
    blocks = [("trunk.pair", 0), ("trunk.single", 2)]
    layers = [layer_of(name, blocks, 5) for name, _ in encoder.named_parameters() if name.endswith("weight")]
    assert layers == [0, 0, 1, 2, 3, 4, 5]


def test_a_stem_of_equal_length_is_not_taken_for_blocks():
    encoder = _TwoStreams()
    encoder.depth = 2
    encoder.blocks = nn.ModuleList(nn.Linear(2, 2) for _ in range(2))
    assert block_lists(encoder) == ["blocks"]


def test_mistakes_name_the_fix():
    encoder = vit()
    encoder.depth = 4
    with pytest.raises(UserError, match="no list of 4 blocks"):
        block_lists(encoder)
    with pytest.raises(UserError, match=r"\(0, 1\]"):
        parameter_groups(vit(), HEAD, decay=1.5, weight_decay=0.0)
    with pytest.raises(UserError, match="frozen"):
        parameter_groups(vit().requires_grad_(False), HEAD, decay=0.9, weight_decay=0.0)
