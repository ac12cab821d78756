"""VQ-KD: codes of images, features of codes, saving, errors."""

import pytest
import torch

from mimgen.errors import UserError
from mimgen.tokenizers.contract import ImageQuantizer, Tokenizer
from mimgen.tokenizers.vqkd.model import VqKd


def vqkd(**options):
    torch.manual_seed(0)
    return VqKd(16, 4, 16, 2, 2, decoder_depth=1, codebook_size=20, code_dim=6, feature_dim=10, **options)


def make_images(side=16):
    return torch.rand(3, 3, side, side, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def test_codes_alone_give_the_features():
    coder = vqkd().eval()
    assert isinstance(coder, ImageQuantizer)
    assert not isinstance(coder, Tokenizer)
    codes = coder.encode(make_images())
    assert codes.indices.shape == (3, 4, 4)
    assert codes.latents.shape == (3, 6, 4, 4)
    features = coder.features(codes)
    assert features.shape == (3, 16, 10)
    torch.testing.assert_close(coder.features(codes.indices), features, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(coder.encode(make_images()[1:]).latents, codes.latents[1:], atol=1e-5, rtol=1e-4)


def test_saved_codes_come_back(tmp_path):
    coder = vqkd(decoder_width=8, decoder_heads=1, relative="shared", layer_scale=0.1)
    coder.train()(make_images())
    coder.save_pretrained(tmp_path)
    again = VqKd.from_pretrained(tmp_path)
    assert torch.equal(again.encode(make_images()).indices, coder.eval().encode(make_images()).indices)


def test_wrong_input_is_named():
    with pytest.raises(UserError, match="multiples of 4"):
        vqkd().encode(make_images(18))
    with pytest.raises(UserError, match="another tokenizer"):
        vqkd().features(torch.full((1, 4, 4), 20))
    with pytest.raises(UserError, match="another tokenizer"):
        vqkd().lookup(torch.full((1, 4, 4), -1))
    with pytest.raises(UserError, match="another tokenizer"):
        vqkd().features(torch.zeros(1, 7, 4, 4))
    with pytest.raises(UserError, match="RGB"):
        vqkd().encode(make_images()[:, :1])


def test_gradients_reach_both_ends():
    coder = vqkd().train()
    features, codes = coder(make_images())
    (features.square().mean() + codes.losses["commitment"]).backward()
    for name, parameter in coder.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0 or "attn" in name, name
