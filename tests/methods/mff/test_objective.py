"""MFF: MAE with one tap, shares that learn, and an encoder that knows nothing of the fusion."""

import pytest
import torch

from mimgen.decoders.mae import MaeDecoder
from mimgen.encoders.vit import mae_vit
from mimgen.errors import UserError
from mimgen.masking.random import Random
from mimgen.methods.mff.fusion import LayerFusion
from mimgen.methods.mff.objective import MFF
from mimgen.methods.mim import MIM
from mimgen.targets import PixelTarget
from mimgen.types import Batch, SampleRNG

SIZES = {"image_size": 16, "patch": 4, "width": 32, "depth": 3, "heads": 2}


def make_images(count=8):
    generator = torch.Generator().manual_seed(0)
    return torch.rand(count, 3, 4, 4, generator=generator).repeat_interleave(4, 2).repeat_interleave(4, 3)


def batch(step=0, count=8):
    return Batch(make_images(count), ("",) * count, ("",) * count, SampleRNG.for_rows(0, step, range(count)))


def objective(taps=(0, 1, 2), fusion=None):
    torch.manual_seed(0)
    encoder, decoder = mae_vit(**SIZES), MaeDecoder(16, 4, 32, 16, 1, 2)
    fusion = fusion or LayerFusion(32, len(taps))
    return MFF(encoder, decoder, PixelTarget(4, normalise=False, last=True), Random(), fusion, taps)


def test_it_learns_and_logs_its_shares():
    trained = objective().train()
    optimiser = torch.optim.AdamW((p for p in trained.parameters() if p.requires_grad), 3e-3)
    history = []
    for step in range(40):
        losses = trained(batch(step))
        optimiser.zero_grad()
        losses.total.backward()
        optimiser.step()
        history.append(float(losses.total.detach()))
    assert set(losses.terms) == {"reconstruction"}
    assert sum(history[-5:]) < 0.7 * sum(history[:5])
    shares = [float(losses.metrics[f"share_{block}"]) for block in range(3)]
    assert sum(shares) == pytest.approx(1)
    assert max(shares) - min(shares) > 1e-3


def test_one_tap_is_mae():
    fused, images = objective((2,)), make_images(2)
    plain = MIM(fused.encoder, fused.decoder, fused.target, fused.masking)
    mask = plain.mask(Batch(images, rng=SampleRNG([0, 1])))
    assert torch.equal(fused.predict(Batch(images), mask), plain.predict(Batch(images), mask))
    assert torch.equal(fused(Batch(images), mask).total, plain(Batch(images), mask).total)
    assert not torch.equal(objective().predict(Batch(images), mask), plain.predict(Batch(images), mask))


def test_the_norm_works_on_the_mixture_while_training_and_on_the_last_block_afterwards():
    module, images = objective().eval(), make_images(2)
    with torch.no_grad():
        module.encoder.norm.bias.fill_(5.0)
    mask = module.mask(Batch(images, rng=SampleRNG([0, 1])))
    fused = module.fused(images, mask)
    torch.testing.assert_close(fused.patches.mean(), torch.tensor(5.0))
    # the class token is mixed, too
    assert fused.prefix.shape == (2, 1, 32)
    torch.testing.assert_close(fused.prefix.mean(), torch.tensor(5.0))
    alone = mae_vit(**SIZES).eval()
    alone.load_state_dict(module.encoder.state_dict())
    assert torch.equal(module.encoder(images).patches, alone(images).patches)
    last = module.encoder(images, layers=(2,))
    assert torch.equal(module.encoder.norm(last.levels[0]), last.patches)


def test_every_tap_is_led_to_the_decoder():
    module = objective().train()
    module(batch()).total.backward()
    assert module.fusion.weights.grad.abs().min() > 0
    assert all(layer.weight.grad.abs().sum() > 0 for layer in module.fusion.proj)


def test_what_does_not_fit_is_named():
    with pytest.raises(UserError, match="2 taps for a fusion of 3"):
        objective((0, 2), LayerFusion(32, 3))
    with pytest.raises(UserError, match="blocks of 0 to 2"):
        objective((0, 3))
