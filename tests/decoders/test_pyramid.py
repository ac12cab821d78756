"""Decoder and heads on a pyramid: what they read, and what they refuse."""

import pytest
import torch

from mimgen.decoders.pyramid import FeatureHeads, JoinedLevels, PyramidDecoder
from mimgen.encoders.hivit import HiVitEncoder
from mimgen.errors import UserError
from mimgen.masking.random import Random
from mimgen.types import SampleRNG

SIZES = {"image_size": 32, "patch": 8, "width": 32, "mlp_depths": (1, 1), "depth": 2, "heads": 2, "neck_width": 16}


def parts(**options):
    torch.manual_seed(0)
    return HiVitEncoder(**SIZES, **options).eval(), PyramidDecoder(32, 8, 16, 32, 1, 2).eval()


def make_images():
    return torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def test_levels_are_summed_unit_by_unit():
    torch.manual_seed(0)
    join = JoinedLevels(4, 16, 3, 1e-6)
    pyramid = [torch.rand(1, 2, side, side, 4) for side in (1, 2, 4)]
    parts = [join[level](pyramid[level]).reshape(1, 2, 16) for level in range(3)]
    torch.testing.assert_close(join(pyramid), sum(parts))
    with pytest.raises(UserError, match="multiple of 16"):
        JoinedLevels(4, 24, 3, 1e-6)


def test_visible_patches_stay_in_their_places():
    encoder, decoder = parts()
    decoder.blocks, decoder.norm, decoder.pred = torch.nn.ModuleList(), torch.nn.Identity(), torch.nn.Identity()
    mask = Random()((4, 4), SampleRNG([0, 1]))
    tokens = encoder.pyramid(make_images(), mask)
    output = decoder(tokens, mask) - decoder.pos_embed
    kept = output.gather(1, mask.keep[..., None].expand(-1, -1, 32))
    torch.testing.assert_close(kept, decoder.embed(tokens.pyramid))
    # every level brings a mask token of its own, as in the release
    torch.testing.assert_close(output[mask.masked], 3 * decoder.mask_token[0].expand(24, -1))


def test_mistakes_are_named():
    encoder, decoder = parts(mask_token=True)
    mask = Random()((4, 4), SampleRNG([0, 1]))
    with pytest.raises(UserError, match="mask_token=False"):
        decoder(encoder.pyramid(make_images(), mask), mask)


def test_heads_read_pyramid_and_earlier_block_apart():
    encoder, _ = parts(mask_token=True)
    heads = FeatureHeads(32, 8, 16, 32, 2, 10).eval()
    tokens = encoder.pyramid(make_images(), layers=(4,))
    output = heads(tokens)
    assert output.main.shape == output.auxiliary.shape == (2, 16, 10)
    (gradient,) = torch.autograd.grad(output.auxiliary.sum(), encoder.blocks[5].mlp.fc1.weight, allow_unused=True)
    assert gradient is None, "the auxiliary head reads an earlier block"
    zeroed = heads(type(tokens)(**{**vars(tokens), "pyramid": tuple(torch.zeros_like(p) for p in tokens.pyramid)}))
    assert torch.equal(zeroed.auxiliary, output.auxiliary) and not torch.equal(zeroed.main, output.main)
