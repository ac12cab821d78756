"""Cross-attention and its block: what is read, that the memory stays, and both kinds of projections."""

import pytest
import torch

from mimgen.errors import UserError
from mimgen.layers.blocks.cross import CrossAttention, CrossBlock


def test_a_joint_projection_is_two_in_one():
    torch.manual_seed(0)
    joint, apart = CrossAttention(8, 2, 6, joint=True), CrossAttention(8, 2, 6)
    own = joint.state_dict()
    weights = {name: own[name] for name in own if not name.startswith("kv.")}
    for kind in ("weight", "bias"):
        weights[f"k.{kind}"], weights[f"v.{kind}"] = own[f"kv.{kind}"].chunk(2)
    apart.load_state_dict(weights)
    queries, memory = torch.rand(2, 3, 8), torch.rand(2, 5, 6)
    torch.testing.assert_close(joint(queries, memory), apart(queries, memory))
    assert joint(queries, memory).shape == (2, 3, 8)


def test_values_may_differ_from_keys_and_order_does_not_matter():
    torch.manual_seed(0)
    attention = CrossAttention(8, 2)
    queries, memory = torch.rand(2, 3, 8), torch.rand(2, 5, 8)
    output = attention(queries, memory)
    torch.testing.assert_close(attention(queries, memory.flip(1)), output)
    assert not torch.allclose(attention(queries, memory, memory.flip(1)), output, atol=1e-4)
    with pytest.raises(UserError, match="change one of them"):
        CrossAttention(8, 3)


@pytest.mark.parametrize("self_attention", [True, False])
def test_queries_see_each_other_only_with_self_attention(self_attention):
    torch.manual_seed(0)
    block = CrossBlock(8, 2, 6, self_attention=self_attention)
    queries, memory = torch.rand(1, 3, 8), torch.rand(1, 5, 6)
    other = queries.clone()
    other[:, 2] = torch.rand(8)
    changed = (block(queries, memory) - block(other, memory)).abs().amax((0, 2)) > 1e-6
    assert changed.tolist() == [self_attention, self_attention, True]


def test_the_norm_of_the_memory_takes_its_scale_away():
    torch.manual_seed(0)
    queries, memory = torch.rand(1, 3, 8), torch.rand(1, 5, 8)
    normed, plain = CrossBlock(8, 2), CrossBlock(8, 2, norm_memory=False)
    torch.testing.assert_close(normed(queries, 3 * memory), normed(queries, memory), atol=1e-4, rtol=1e-4)
    assert not torch.allclose(plain(queries, 3 * memory), plain(queries, memory), atol=1e-3)
    assert not any("norm_memory" in name for name in plain.state_dict())
