"""BEiT blocks: the relative position index, keys without bias, layer scale, the block's own table."""

import torch
import torch.nn.functional as F

from mimgen.layers.blocks.beit import (
    BeitAttention,
    BeitBlock,
    RelativePositionBias,
    initialise,
    relative_index,
)


def states(tokens=7, width=8):
    return torch.randn(2, tokens, width, generator=torch.Generator().manual_seed(0))


def test_relative_index_depends_on_the_displacement_only():
    index = relative_index(2, 3)
    assert index.shape == (7, 7)
    displacements = {}
    for a in range(6):
        for b in range(6):
            shift = (a // 3 - b // 3, a % 3 - b % 3)
            assert displacements.setdefault(shift, int(index[a + 1, b + 1])) == int(index[a + 1, b + 1])
    assert len(set(displacements.values())) == len(displacements) == 3 * 5
    assert index[0, 1:].unique().tolist() == [15]
    assert index[1:, 0].unique().tolist() == [16]
    assert int(index[0, 0]) == 17


def test_attention_is_softmax_with_the_bias_added():
    torch.manual_seed(0)
    attention, table = BeitAttention(8, 2, True, None), RelativePositionBias(2, 3, 2)
    for parameter in (attention.q_bias, attention.v_bias, table.relative_position_bias_table):
        torch.nn.init.normal_(parameter)
    x, bias = states(), table.bias()
    weights = attention.qkv.weight
    q = (x @ weights[:8].T + attention.q_bias).unflatten(-1, (2, 4)).transpose(1, 2)
    k = (x @ weights[8:16].T).unflatten(-1, (2, 4)).transpose(1, 2)
    v = (x @ weights[16:].T + attention.v_bias).unflatten(-1, (2, 4)).transpose(1, 2)
    shares = (q @ k.transpose(2, 3) / 2 + bias).softmax(-1)
    expected = attention.proj((shares @ v).transpose(1, 2).flatten(2))
    torch.testing.assert_close(attention(x, bias), expected, atol=1e-6, rtol=1e-5)
    assert not torch.allclose(attention(x), expected, atol=1e-3)


def test_a_blocks_own_table_is_added_to_the_shared_one():
    torch.manual_seed(0)
    own, plain = BeitAttention(8, 2, False, (2, 3)), BeitAttention(8, 2, False, None)
    torch.nn.init.normal_(own.relative_position_bias_table)
    plain.load_state_dict({name: value for name, value in own.state_dict().items() if "relative" not in name})
    shared = torch.randn(2, 7, 7)
    table = own.relative_position_bias_table[own.relative_position_index].permute(2, 0, 1)
    torch.testing.assert_close(own(states(), shared), plain(states(), shared + table), atol=1e-6, rtol=1e-5)


def test_layer_scale_of_nothing_is_the_identity():
    block = BeitBlock(8, 2, layer_scale=0.1)
    assert not torch.equal(block(states()), states())
    with torch.no_grad():
        block.gamma_1.zero_()
        block.gamma_2.zero_()
    assert torch.equal(block(states()), states())
    assert BeitBlock(8, 2).gamma_1 is None
    assert BeitBlock(8, 2, layer_scale=0.0).gamma_2 is None


def test_start_shrinks_with_depth():
    torch.manual_seed(0)
    blocks = torch.nn.ModuleList(BeitBlock(64, 2) for _ in range(4))
    initialise(blocks)
    first, last = (blocks[i].mlp.fc2.weight.std() for i in (0, 3))
    torch.testing.assert_close(first / last, torch.tensor(2.0), rtol=0.05, atol=0)
    assert F.relu(blocks[0].mlp.fc1.bias.abs()).sum() == 0
