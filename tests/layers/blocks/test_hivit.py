"""Units of patches: how they are cut, merged and split, and what blocks do with them."""

import pytest
import torch

from mimgen.errors import UserError
from mimgen.layers.blocks.beit import relative_index
from mimgen.layers.blocks.hivit import RelativeAttention, UnitBlock, UnitEmbed, UnitMerge, UnitSplit


def numbers(*shape):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0))


def test_units_are_the_places_of_the_image():
    embed = UnitEmbed(8, 4)
    embed.norm = torch.nn.Identity()
    images = numbers(2, 3, 16, 24)
    units, grid = embed(images)
    assert grid == (2, 3) and units.shape == (2, 6, 4, 4, 4)
    plane = embed.proj(images)
    # back to an image: rows of patches, then rows of units
    again = units.unflatten(1, grid).permute(0, 5, 1, 3, 2, 4).flatten(4).flatten(2, 3)
    assert torch.equal(again, plane)


def test_merge_takes_four_units_in_the_official_order():
    merge = UnitMerge(1)
    merge.norm = torch.nn.Identity()
    merge.reduction.weight.data = torch.tensor([[1000.0, 100, 10, 1], [0, 0, 0, 1]])
    units = torch.tensor([[1.0, 2], [3, 4]])[None, None, ..., None]
    # (0,0), (1,0), (0,1), (1,1)
    assert merge(units).flatten().tolist() == [1324, 4]


def test_split_is_row_major():
    split = UnitSplit(2, 1)
    split.norm = torch.nn.Identity()
    split.reduction.weight.data = torch.tensor([[1.0, 0], [2, 0], [3, 0], [4, 0]])
    units = torch.zeros(1, 1, 2, 2, 2)
    units[0, 0, 1, 0, 0] = 1
    assert split(units)[0, 0, ..., 0].tolist() == [[0, 0, 0, 0], [0, 0, 0, 0], [1, 2, 0, 0], [3, 4, 0, 0]]


def test_relative_attention_prefers_the_offset_with_the_highest_bias():
    torch.manual_seed(0)
    attention = RelativeAttention(8, 2, grid=(2, 3))
    offsets = relative_index(2, 3)[1:, 1:]
    with torch.no_grad():
        attention.relative_position_bias_table.zero_()
        # the neighbour on the right: the key lies one column further
        attention.relative_position_bias_table[offsets[0, 1]] = 100
    x = numbers(1, 6, 8)
    values = attention.proj(attention.qkv(x).chunk(3, -1)[2])
    seen = attention(x, offsets[None])
    torch.testing.assert_close(seen[:, [0, 1, 3, 4]], values[:, [1, 2, 4, 5]])


def test_a_block_without_heads_keeps_units_apart():
    torch.manual_seed(0)
    block, x = UnitBlock(8, layer_scale=0.5), numbers(1, 3, 2, 2, 8)
    assert not any("attn" in name or "gamma_1" in name for name, _ in block.named_parameters())
    other = x.clone()
    other[0, 1, 0, 1] = 0
    changed = (block(x) != block(other)).any(-1)
    assert changed.nonzero().tolist() == [[0, 1, 0, 1]]


def test_mistakes_are_named():
    with pytest.raises(UserError, match="multiple of 4"):
        UnitEmbed(6, 4)
    with pytest.raises(UserError, match="to multiples of 8"):
        UnitEmbed(8, 4)(numbers(1, 3, 12, 16))
    with pytest.raises(UserError, match="convert them"):
        UnitEmbed(8, 4)(numbers(1, 1, 16, 16))
    with pytest.raises(UserError, match="heads"):
        RelativeAttention(8, 3)
