"""CAE's networks: positions, what a mask leaves out, the regressor's frozen memory, saving."""

import pytest
import torch

from mimgen.errors import UserError
from mimgen.masking.block import Block
from mimgen.methods.cae.networks import CaeDecoder, CaeEncoder, rows_first
from mimgen.methods.cae.regressor import RegressorBlock
from mimgen.types import Mask, SampleRNG


def mask(count=2, grid=(4, 4)):
    return Block(8, 2)(grid, SampleRNG(range(count)))


def test_the_first_half_of_the_channels_tells_the_row():
    table = rows_first(16, (3, 5)).unflatten(0, (3, 5))
    assert torch.equal(table[1, 0, :8], table[1, 4, :8]) and not torch.equal(table[0, 0, :8], table[1, 0, :8])
    assert torch.equal(table[0, 2, 8:], table[2, 2, 8:]) and not torch.equal(table[0, 0, 8:], table[0, 1, 8:])


def test_an_encoder_for_images_of_any_shape_with_and_without_mask(tmp_path):
    torch.manual_seed(0)
    encoder = CaeEncoder((16, 24), 4, 32, 2, 2).eval()
    images = torch.rand(2, 3, 16, 24)
    tokens = encoder(images, layers=(0, 1))
    assert tokens.patches.shape == (2, 24, 32) and tokens.grid == (4, 6) and len(tokens.levels) == 2
    masked = mask(grid=(4, 6))
    seen = encoder(images, masked)
    assert seen.patches.shape == (2, 16, 32) and seen.prefix.shape == (2, 1, 32)
    nothing = encoder(images, Mask(torch.zeros(2, 24, dtype=torch.bool)))
    assert torch.equal(nothing.patches, tokens.patches)
    assert not encoder.pos_embed.requires_grad
    encoder.save_pretrained(tmp_path)
    assert torch.equal(CaeEncoder.from_pretrained(tmp_path)(images, masked).patches, seen.patches)
    with pytest.raises(UserError, match="do not divide"):
        CaeEncoder((16, 23), 4, 32, 1, 2)


def test_the_middle_norm_replaces_the_stream():
    torch.manual_seed(0)
    block = RegressorBlock(8, 2, layer_scale=0.1)
    with torch.no_grad():
        block.gamma_2_cross.zero_()
    x, memory = torch.randn(2, 3, 8), torch.randn(2, 5, 8)
    out = block(x, memory, torch.zeros(2, 3, 8), torch.zeros(2, 5, 8))
    torch.testing.assert_close(out.mean(-1), torch.zeros(2, 3), atol=1e-5, rtol=0)
    assert not any(name.endswith("k.bias") for name in dict(block.named_parameters()) if "cross_attn" in name)


def test_what_is_read_holds_no_position():
    """Where all tokens of memory and queries are equal, positions cannot change what is read."""
    torch.manual_seed(0)
    block = RegressorBlock(8, 2)
    x, memory = torch.ones(1, 3, 8) * torch.arange(8), torch.ones(1, 5, 8) * torch.arange(8)
    positions = [torch.randn(1, count, 8) for count in (3, 5)]
    without = block(x, memory, torch.zeros(1, 3, 8), torch.zeros(1, 5, 8))
    torch.testing.assert_close(block(x, memory, *positions), without)


@pytest.mark.parametrize("width", [32, 24])
def test_the_decoder_answers_for_masked_patches(width, tmp_path):
    torch.manual_seed(0)
    encoder, decoder = CaeEncoder(16, 4, 32, 1, 2), CaeDecoder(11, 32, width, 2, 1, 2)
    images = torch.rand(2, 3, 16, 16)
    made = decoder(encoder(images, mask()), mask())
    assert made.latents.shape == (2, 8, width) and made.predicted.shape == (2, 8, 11)
    decoder.save_pretrained(tmp_path)
    again = CaeDecoder.from_pretrained(tmp_path)(encoder(images, mask()), mask())
    assert torch.equal(again.predicted, made.predicted)
