"""A2MIM: what the encoder is shown, what is scored, and that CNN and ViT learn."""

import pytest
import torch

from mimgen.decoders.mae import LinearDecoder
from mimgen.encoders.resnet import ResNetEncoder
from mimgen.encoders.vit import VitEncoder
from mimgen.errors import UserError
from mimgen.masking.random import Random
from mimgen.methods.a2mim.objective import A2MIM
from mimgen.methods.a2mim.target import Criterion, FrequencyDistance
from mimgen.types import Batch, Mask, SampleRNG


def make_images(count=8):
    generator = torch.Generator().manual_seed(0)
    return torch.rand(count, 3, 4, 4, generator=generator).repeat_interleave(4, 2).repeat_interleave(4, 3)


def batch(step=0, count=8):
    return Batch(make_images(count), ("",) * count, ("",) * count, SampleRNG.for_rows(0, step, range(count)))


def cnn(**options):
    torch.manual_seed(0)
    encoder = ResNetEncoder(18, 8, 4, (1, 1, 2, 1), 2)
    return A2MIM(encoder, LinearDecoder(encoder.dim, 8, 8), Random(0.6), **options)


def vit(**options):
    torch.manual_seed(0)
    encoder = VitEncoder(16, 4, 32, 1, 2, mask_token="add")
    arguments = {"criterion": Criterion(), "frequency_weight": 0.1, **options}
    return A2MIM(encoder, LinearDecoder(32, 4, 4), Random(0.6), **arguments)


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
    module, images = cnn(), make_images(2)
    mask = Mask(torch.arange(16).expand(2, -1) < 8)
    shown = module.corrupt(images, mask)
    assert torch.equal(shown[:, :, 8:], images[:, :, 8:])
    torch.testing.assert_close(shown[:, :, :8], images.mean((2, 3), keepdim=True).expand(-1, -1, 8, 16))
    # normalising is linear, so the mean of the normalised image is the same
    normal = ((images - module.encoder.mean) / module.encoder.std).mean((2, 3))
    torch.testing.assert_close(((shown - module.encoder.mean) / module.encoder.std)[:, :, 0, 0], normal)
    uniform = torch.full((1, 3, 16, 16), 0.3)
    torch.testing.assert_close(module.corrupt(uniform, Mask(mask.masked[:1])), uniform)
    bare = cnn(mean_fill=False).corrupt(images, mask)
    torch.testing.assert_close(bare[:, :, :8], module.encoder.mean.expand(2, 3, 8, 16))


def test_the_mask_covers_whole_cells_of_the_tokens_grid():
    module = cnn()
    masked = torch.rand(2, 16) < 0.5
    pixels = module.pixels(Mask(masked), make_images(2))
    assert torch.equal(pixels[:, 0, ::4, ::4].flatten(1), masked)
    assert torch.equal(pixels[:, 0, ::4, ::4], pixels[:, 0, 3::4, 3::4])


def test_only_hidden_pixels_are_scored_unless_asked():
    images, mask = make_images(2), Mask(torch.arange(16).expand(2, -1) < 8)
    alone = cnn(frequency_weight=0.0, criterion=Criterion()).eval()
    true = (images - alone.encoder.mean) / alone.encoder.std
    sampled = true.clone()
    sampled[:, :, 8:] += 5
    assert alone.compute_losses(images, sampled, mask).total == 0
    assert set(alone.compute_losses(images, sampled, mask).terms) == {"spatial"}
    torch.testing.assert_close(alone.compute_losses(images, true + 2, mask).total, torch.tensor(2.0))
    with_visible = cnn(frequency_weight=0.0, criterion=Criterion(), visible_weight=0.1)
    torch.testing.assert_close(with_visible.compute_losses(images, sampled, mask).total, torch.tensor(0.5 / 1.1))
    both = cnn(frequency=FrequencyDistance(fill="true"), frequency_weight=0.5)
    losses = both.compute_losses(images, true + 2, mask)
    torch.testing.assert_close(losses.total, losses.terms["spatial"] + 0.5 * losses.terms["frequency"])


def test_the_encoder_does_not_see_hidden_pixels_but_their_mean():
    module, images = vit().eval(), make_images(1)
    mask = Mask(torch.arange(16)[None] < 8)
    other = images.clone()
    other[:, :, :8] = images[:, :, :8].flip(2)
    assert torch.allclose(module.corrupt(images, mask), module.corrupt(other, mask))


def test_mistakes_are_named():
    with pytest.raises(UserError, match="tokens have 8 pixels"):
        A2MIM(cnn().encoder, LinearDecoder(32, 4, 4))
