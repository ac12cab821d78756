"""MAE's start, encoders with mask token, and decoders."""

import pytest
import torch

from mimgen.decoders.mae import LinearDecoder, MaeDecoder
from mimgen.encoders.vit import VitEncoder, mae_vit
from mimgen.errors import UserError
from mimgen.layers.position import sincos_2d
from mimgen.types import Mask, Tokens

SIZES = {"image_size": 16, "patch": 4, "width": 16, "depth": 2, "heads": 2}


def make_images(count=2, side=16):
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(0))


def mask(*masked):
    rows = torch.zeros(len(masked), 16, dtype=torch.bool)
    for row, positions in zip(rows, masked):
        row[list(positions)] = True
    return Mask(rows)


def test_mae_starts_with_fixed_positions_and_xavier_weights():
    torch.manual_seed(0)
    encoder = mae_vit(**{**SIZES, "width": 64})
    assert not encoder.pos_embed.requires_grad
    assert torch.equal(encoder.pos_embed[0, 0], torch.zeros(64))
    assert torch.equal(encoder.pos_embed[0, 1:], sincos_2d(64, 4, 4))
    bound = (6 / (64 + 3 * 64)) ** 0.5
    assert bound * 0.98 < encoder.blocks[0].attn.qkv.weight.abs().max() <= bound
    bound = (6 / (64 + 48)) ** 0.5  # the kernel as a matrix from 48 pixels to 64
    assert bound * 0.98 < encoder.patch_embed.proj.weight.abs().max() <= bound
    assert 0.01 < encoder.cls_token.std() < 0.03


def test_the_mask_token_hides_pixels_but_not_places():
    torch.manual_seed(0)
    encoder, masked = VitEncoder(**SIZES, mask_token="replace").eval(), mask([0, 5], [3, 9])
    other = make_images()
    other[0, :, :4, :4] = 0.5  # patch 0 of the first image
    other[1, :, :4, 12:] = 0.5  # patch 3 of the second
    seen = encoder(make_images(), masked)
    assert seen.patches.shape == (2, 16, 16) and seen.grid == (4, 4)
    assert torch.equal(seen.patches, encoder(other, masked).patches)
    assert not torch.allclose(seen.patches, encoder(make_images()).patches)
    tokens, _ = encoder.embed(make_images(), masked)
    expected = encoder.mask_token[0] + encoder.pos_embed[0, [1, 6]]
    torch.testing.assert_close(tokens[0, [1, 6]], expected)


def test_a_saved_encoder_comes_back(tmp_path):
    encoder = VitEncoder(**SIZES, mask_token="replace").eval()
    encoder.save_pretrained(tmp_path)
    again = VitEncoder.from_pretrained(tmp_path)
    assert torch.equal(encoder(make_images()).patches, again(make_images()).patches)


def test_the_decoder_puts_tokens_at_their_places():
    torch.manual_seed(0)
    decoder = MaeDecoder(16, 4, 16, 8, 0, 2, output=8)
    with torch.no_grad():
        decoder.pos_embed.zero_()
        decoder.pred.weight.copy_(torch.eye(8))
        decoder.pred.bias.zero_()
    masked = mask(range(3, 16), [0, 1, 2, 4, 5, 6, 7, 8, 9, 10, 12, 13, 14])
    patches, prefix = torch.randn(2, 3, 16), torch.randn(2, 1, 16)
    found = decoder(Tokens(patches, (4, 4), prefix), masked)
    empty = decoder.norm(decoder.mask_token[0, 0])
    assert found.shape == (2, 16, 8)
    torch.testing.assert_close(found[1, [3, 11, 15]], decoder.norm(decoder.embed(patches[1])))
    torch.testing.assert_close(found[1, 4], empty)
    torch.testing.assert_close(found[0, 3:], empty.expand(13, 8))


def test_the_decoder_takes_other_grids_and_names_what_does_not_fit():
    encoder, decoder = mae_vit(**SIZES), MaeDecoder(16, 4, 16, 8, 1, 2)
    wide = Mask(torch.arange(32).repeat(2, 1) >= 8)
    assert decoder(encoder(torch.rand(2, 3, 16, 32), wide), wide).shape == (2, 32, 48)
    masked = mask([0], [1])
    with pytest.raises(UserError, match="leaves masked patches out"):
        decoder(encoder(make_images()), masked)
    with pytest.raises(UserError, match="mask token"):
        LinearDecoder(16, 4, 4)(encoder(make_images(), masked))
    with pytest.raises(UserError, match="do not divide"):
        LinearDecoder(16, 8, 3)


def test_a_coarse_linear_decoder_cuts_its_pixels_into_patches():
    torch.manual_seed(0)
    decoder = LinearDecoder(5, stride=8, patch=4)
    tokens = Tokens(torch.randn(1, 4, 5), (2, 2), torch.zeros(1, 0, 5))
    pixels = decoder.decoder.weight[:, :, 0, 0] @ tokens.patches[0, 1] + decoder.decoder.bias
    square = pixels.view(3, 8, 8)  # the upper right token
    torch.testing.assert_close(decoder.images(tokens)[0, :, :8, 8:], square)
    torch.testing.assert_close(decoder(tokens)[0, 4 * 1 + 3], square[:, 4:, 4:].flatten())
