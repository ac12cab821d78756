"""CroCo's networks: what each view sees of the other, masks, positions, and saving."""

import pytest
import torch

from mimgen.encoders.vit import mae_vit
from mimgen.errors import UserError
from mimgen.masking.random import Random
from mimgen.methods.croco.decoder import CrossViewDecoder
from mimgen.methods.croco.encoder import CrossViewVit
from mimgen.methods.selectivemae.decoder import SubsetDecoder
from mimgen.types import Mask, SampleRNG

SIZES = {"image_size": 16, "patch": 4, "width": 32, "depth": 2, "heads": 2}


def networks(positions):
    torch.manual_seed(0)
    return (
        CrossViewVit(**SIZES, positions=positions).eval(),
        CrossViewDecoder(16, 4, 32, 24, 2, 2, positions=positions).eval(),
    )


@pytest.fixture(params=["fixed", "rotary"])
def pair(request):
    return networks(request.param)


def test_encoders_keep_the_contract(pair, tmp_path):
    encoder, _ = pair
    images = torch.rand(2, 3, 16, 16)
    tokens = encoder(images, layers=(0, -1), attention=(1,))
    assert tokens.patches.shape == (2, 16, 32) and tokens.prefix.shape == (2, 0, 32) and tokens.grid == (4, 4)
    assert len(tokens.levels) == 2
    torch.testing.assert_close(encoder.norm(tokens.levels[1]), tokens.patches)
    assert tokens.attention[0].shape == (2, 2, 16, 16)
    torch.testing.assert_close(tokens.attention[0].sum(-1), torch.ones(2, 2, 16))
    assert encoder(torch.rand(1, 3, 24, 16)).grid == (6, 4)
    encoder.save_pretrained(tmp_path)
    assert torch.equal(CrossViewVit.from_pretrained(tmp_path)(images).patches, tokens.patches)
    with pytest.raises(UserError, match="layers 0 to 1"):
        encoder(images, layers=(2,))


def test_visible_tokens_keep_their_places(pair):
    encoder, _ = pair
    content = torch.rand(2, 3, 4, 4)
    beside, below = torch.zeros(2, 1, 3, 16, 16)
    beside[0, :, :4, :4], beside[0, :, :4, 4:8] = content
    below[0, :, :4, :4], below[0, :, 4:8, :4] = content
    output = []
    for images, positions in ((beside, [0, 1]), (below, [0, 4])):
        masked = torch.ones(1, 16, dtype=torch.bool)
        masked[0, positions] = False
        output.append(encoder(images, Mask(masked)).patches)
    assert not torch.allclose(*output, atol=1e-5), "the same two patches at other positions"


def test_the_first_encoding_does_not_see_the_second_view_and_the_prediction_does(pair):
    encoder, decoder = pair
    first, second = torch.rand(2, 2, 3, 16, 16)
    second.requires_grad_(True)
    mask = Random(0.75)((4, 4), SampleRNG([0, 1]))
    tokens = encoder(first, mask)
    assert tokens.patches.shape == (2, 4, 32)
    assert torch.autograd.grad(tokens.patches.sum(), second, allow_unused=True, retain_graph=True)[0] is None
    predicted = decoder(tokens, encoder(second), mask)
    assert predicted.shape == (2, 16, 48)
    (gradient,) = torch.autograd.grad(predicted.sum(), second)
    assert (gradient.abs().sum((1, 2, 3)) > 0).all()
    whole = decoder(encoder(first), encoder(second))
    assert whole.shape == (2, 16, 48), "without a mask the decoder runs on all tokens"
    with pytest.raises(UserError, match="pass the mask to both"):
        decoder(encoder(first), encoder(second), mask)


def test_unknown_positions_and_odd_sizes():
    with pytest.raises(UserError, match='"fixed" or "rotary"'):
        CrossViewVit(**SIZES, positions="learned")
    with pytest.raises(UserError, match="does not divide"):
        CrossViewVit(18, 4, 32, 1, 2)


def test_a_subset_decoder_tells_scored_patches_only():
    torch.manual_seed(0)
    encoder, decoder = mae_vit(**SIZES).eval(), SubsetDecoder(16, 4, 32, 24, 2, 2).eval()
    images = torch.rand(2, 3, 16, 16)
    masked = torch.ones(2, 16, dtype=torch.bool)
    masked[:, [3, 7]] = False
    scored, more = torch.zeros_like(masked), torch.zeros_like(masked)
    scored[:, [0, 9]], more[:, [0, 5, 9]] = True, True
    tokens = encoder(images, Mask(masked))
    few, many = (decoder(tokens, Mask(masked, chosen)) for chosen in (scored, more))
    assert few.shape == (2, 16, 48)
    assert torch.equal(few.abs().sum(-1) > 0, scored)
    # queries do not see each other, so more of them change nothing
    torch.testing.assert_close(few[scored], many[scored])
    seeing = SubsetDecoder(16, 4, 32, 24, 2, 2, self_attention=True).eval()
    few, many = (seeing(tokens, Mask(masked, chosen)) for chosen in (scored, more))
    assert not torch.allclose(few[scored], many[scored], atol=1e-5)
