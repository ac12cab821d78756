"""The transformer of volumes: positions, taps, masked cells, images."""

import pytest
import torch

from mimgen.errors import UserError
from mimgen.masking.random import Random
from mimgen.methods.hiendmae.encoder import VolumeVit, sincos
from mimgen.types import SampleRNG

SIZES = {"image_size": (8, 8, 12), "patch": (4, 4, 4), "width": 24, "depth": 3, "heads": 2}


def encoder(**options):
    torch.manual_seed(0)
    return VolumeVit(**{**SIZES, **options}).eval()


def volumes(*sides, channels=1):
    return torch.rand(2, channels, *(sides or (8, 8, 12)), generator=torch.Generator().manual_seed(0))


def test_positions_are_those_of_each_axis_in_turn():
    table = sincos(12, (2, 3, 4))
    assert table.shape == (24, 12)
    position = table[1 * 12 + 2 * 4 + 3]
    for axis, number in enumerate((1.0, 2.0, 3.0)):
        angles = torch.tensor([number, number / 100])  # 10000^(-1 / 2)
        torch.testing.assert_close(position[4 * axis : 4 * axis + 4], torch.cat([angles.sin(), angles.cos()]))
    with pytest.raises(UserError, match="multiple of 6"):
        sincos(16, (2, 2, 2))


def test_the_embedding_is_the_convolution_of_the_release():
    looks, x = encoder(), volumes()
    grid = looks.patch_embed["proj"](x).flatten(2).transpose(1, 2)
    torch.testing.assert_close(looks.embed(x)[:, 1:], grid + looks.pos_embed)
    assert torch.equal(looks.embed(x)[:, :1], looks.cls_token.expand(2, -1, -1)), "the class token has no position"


def test_taps_are_outputs_of_blocks_counted_from_0():
    looks, x = encoder(), volumes()
    tokens = looks(x, layers=(2, 0))
    first = looks.blocks[0](looks.embed(x))
    torch.testing.assert_close(tokens.memories[1], first)
    assert torch.equal(tokens.levels[1], tokens.memories[1][:, 1:])
    torch.testing.assert_close(looks.norm(tokens.memories[0])[:, 1:], tokens.patches)
    assert tokens.cells == (2, 2, 3) and tokens.grid == (2, 6) and tokens.patches.shape == (2, 12, 24)
    with pytest.raises(UserError, match="layer 3"):
        looks(x, layers=(3,))


def test_hidden_voxels_reach_neither_output_nor_memories():
    looks, x = encoder(), volumes()
    mask = Random()((2, 6), SampleRNG([0, 1]))
    other = x.clone()
    plane, row, column = torch.unravel_index(mask.drop[0, 0], (2, 2, 3))
    other[0, :, 4 * plane : 4 * plane + 4, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4] = 9
    before, after = looks(x, mask, layers=(0, 2)), looks(other, mask, layers=(0, 2))
    assert torch.equal(before.patches, after.patches)
    assert all(torch.equal(a, b) for a, b in zip(before.memories, after.memories))
    assert not torch.equal(looks(x).patches, looks(other).patches)


def test_images_learned_positions_and_saving(tmp_path):
    looks = encoder(image_size=(8, 16), patch=4, channels=3, mean=(0.5,) * 3, std=(0.5,) * 3, positions="learned")
    assert looks.pos_embed.requires_grad and not encoder().pos_embed.requires_grad
    tokens = looks(volumes(8, 16, channels=3))
    assert tokens.grid == (2, 4)
    looks.save_pretrained(tmp_path)
    again = VolumeVit.from_pretrained(tmp_path)
    assert torch.equal(again(volumes(8, 16, channels=3)).patches, tokens.patches)


def test_mistakes_are_named():
    with pytest.raises(UserError, match="crop or resize"):
        encoder()(volumes(8, 8, 8))
    with pytest.raises(UserError, match="does not divide"):
        encoder(patch=5)
    with pytest.raises(UserError, match="3 sides"):
        encoder(image_size=(8,))
    with pytest.raises(UserError, match='"fixed" or "learned"'):
        encoder(positions="sines")
