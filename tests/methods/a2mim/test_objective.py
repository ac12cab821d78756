"""A2MIM: what the encoder is shown, what is scored, and that CNN and ViT learn."""

import pytest
import torch

from mimgen.decoders.mae import LinearDecoder
from mimgen.encoders.resnet import ResNetEncoder
from mimgen.errors import UserError
from mimgen.masking.random import Random
from mimgen.methods.a2mim.encoder import ResidualTokenVit
from mimgen.methods.a2mim.objective import PixelsAndFrequencies
from mimgen.methods.a2mim.target import Criterion, FrequencyDistance
from mimgen.types import Batch, Draws, Mask


def pictures(count=8):
    generator = torch.Generator().manual_seed(0)
    return torch.rand(count, 3, 4, 4, generator=generator).repeat_interleave(4, 2).repeat_interleave(4, 3)


def batch(step=0, count=8):
    return Batch(pictures(count), ("",) * count, ("",) * count, Draws.for_rows(0, step, range(count)))


def cnn(**options):
    torch.manual_seed(0)
    encoder = ResNetEncoder(18, 8, 4, (1, 1, 2, 1), 2)
    return PixelsAndFrequencies(encoder, LinearDecoder(encoder.dim, 8, 8), Random(0.6), **options)


def vit(**options):
    torch.manual_seed(0)
    encoder = ResidualTokenVit(16, 4, 32, 1, 2)
    given = {"criterion": Criterion(), "frequency_weight": 0.1, **options}
    return PixelsAndFrequencies(encoder, LinearDecoder(32, 4, 4), Random(0.6), **given)


@pytest.mark.parametrize("kind", [cnn, vit])
def test_it_learns(kind):
    trained = kind().train()
    optimiser = torch.optim.AdamW((p for p in trained.parameters() if p.requires_grad), 1e-2)
    history = []
    for step in range(20):
        losses = trained(batch(step, 4))
        optimiser.zero_grad()
        losses.total.backward()
        optimiser.step()
        history.append(float(losses.terms["spatial"].detach()))
    assert set(losses.terms) == {"spatial", "frequency"}
    assert sum(history[-4:]) < 0.93 * sum(history[:4])
    assert trained.encoder.mask_token.grad.abs().sum() > 0


def test_hidden_pixels_are_shown_in_the_mean_colour():
    judged, images = cnn(), pictures(2)
    mask = Mask(torch.arange(16).expand(2, -1) < 8)
    shown = judged.shown(images, mask)
    assert torch.equal(shown[:, :, 8:], images[:, :, 8:])
    torch.testing.assert_close(shown[:, :, :8], images.mean((2, 3), keepdim=True).expand(-1, -1, 8, 16))
    # normalising is linear, so the mean of the normalised picture is the same
    normal = ((images - judged.encoder.mean) / judged.encoder.std).mean((2, 3))
    torch.testing.assert_close(((shown - judged.encoder.mean) / judged.encoder.std)[:, :, 0, 0], normal)
    uniform = torch.full((1, 3, 16, 16), 0.3)
    torch.testing.assert_close(judged.shown(uniform, Mask(mask.hidden[:1])), uniform)
    bare = cnn(mean_fill=False).shown(images, mask)
    torch.testing.assert_close(bare[:, :, :8], judged.encoder.mean.expand(2, 3, 8, 16))


def test_the_mask_covers_whole_cells_of_the_tokens_grid():
    judged = cnn()
    hidden = torch.rand(2, 16) < 0.5
    pixels = judged.pixels(Mask(hidden), pictures(2))
    assert torch.equal(pixels[:, 0, ::4, ::4].flatten(1), hidden)
    assert torch.equal(pixels[:, 0, ::4, ::4], pixels[:, 0, 3::4, 3::4])


def test_only_hidden_pixels_are_scored_unless_asked():
    images, mask = pictures(2), Mask(torch.arange(16).expand(2, -1) < 8)
    alone = cnn(frequency_weight=0.0, criterion=Criterion()).eval()
    true = (images - alone.encoder.mean) / alone.encoder.std
    drawn = true.clone()
    drawn[:, :, 8:] += 5
    assert alone.judge(images, drawn, mask).total == 0
    assert set(alone.judge(images, drawn, mask).terms) == {"spatial"}
    torch.testing.assert_close(alone.judge(images, true + 2, mask).total, torch.tensor(2.0))
    with_visible = cnn(frequency_weight=0.0, criterion=Criterion(), visible_weight=0.1)
    torch.testing.assert_close(with_visible.judge(images, drawn, mask).total, torch.tensor(0.5 / 1.1))
    both = cnn(frequency=FrequencyDistance(fill="true"), frequency_weight=0.5)
    losses = both.judge(images, true + 2, mask)
    torch.testing.assert_close(losses.total, losses.terms["spatial"] + 0.5 * losses.terms["frequency"])


def test_the_encoder_does_not_see_hidden_pixels_but_their_mean():
    judged, images = vit().eval(), pictures(1)
    mask = Mask(torch.arange(16)[None] < 8)
    other = images.clone()
    other[:, :, :8] = images[:, :, :8].flip(2)
    assert torch.allclose(judged.shown(images, mask), judged.shown(other, mask))


def test_mistakes_are_named():
    with pytest.raises(UserError, match="tokens have 8 pixels"):
        PixelsAndFrequencies(cnn().encoder, LinearDecoder(32, 4, 4))
