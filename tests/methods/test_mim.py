"""Masked image modelling as a composition: what is scored, what is seen, and that MAE and SimMIM learn."""

import pytest
import torch

from mimgen.decoders.mae import LinearDecoder, MaeDecoder
from mimgen.encoders.swin import SwinEncoder
from mimgen.encoders.vit import VitEncoder, mae_vit
from mimgen.errors import UserError
from mimgen.masking import Block
from mimgen.masking.random import Random
from mimgen.methods.mim import MIM
from mimgen.targets import HogTarget, PixelTarget
from mimgen.types import Batch, Mask, SampleRNG

SIZES = {"image_size": 16, "patch": 4, "width": 32, "depth": 1, "heads": 2}


def make_images(count=8):
    generator = torch.Generator().manual_seed(0)
    return torch.rand(count, 3, 4, 4, generator=generator).repeat_interleave(4, 2).repeat_interleave(4, 3)


def batch(step=0, count=8):
    return Batch(make_images(count), ("",) * count, ("",) * count, SampleRNG.for_rows(0, step, range(count)))


def mae(masking=None):
    torch.manual_seed(0)
    target = PixelTarget(4, normalise=False, last=True)
    return MIM(mae_vit(**SIZES), MaeDecoder(16, 4, 32, 16, 1, 2), target, masking or Random())


def simmim(swin=False):
    torch.manual_seed(0)
    if swin:
        encoder = SwinEncoder(4, 16, (1, 1), (1, 2), 2)
        decoder = LinearDecoder(encoder.dim, encoder.patch, 4)
    else:
        encoder, decoder = VitEncoder(**SIZES, mask_token="replace"), LinearDecoder(32, 4, 4)
    return MIM(encoder, decoder, PixelTarget(4, normalise=False, distance="absolute"), Random(0.6, 2))


KINDS = {"mae": mae, "simmim": simmim, "swin": lambda: simmim(swin=True)}


@pytest.mark.parametrize("kind", KINDS)
def test_it_learns(kind):
    trained = KINDS[kind]().train()
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


@pytest.mark.parametrize("kind", KINDS)
def test_the_loss_is_a_mean_over_masked_patches(kind):
    module, images = KINDS[kind]().eval(), make_images(2)
    mask = module.mask(Batch(images, rng=SampleRNG([1, 2])))
    goal, output = module.target(images), module.predict(Batch(images), mask)
    difference = (output - goal)[mask.masked]
    expected = difference.square().mean() if kind == "mae" else difference.abs().mean()
    torch.testing.assert_close(module(Batch(images), mask).total, expected)


def test_simmims_loss_is_that_of_the_paper_and_ignores_visible_pixels(monkeypatch):
    module, images = simmim(swin=True).eval(), make_images(2)
    mask = module.mask(Batch(images, rng=SampleRNG([1, 2])))
    tokens = module.encoder(images, mask)
    sampled = module.decoder.images(tokens)
    pixels = mask.masked.unflatten(1, (4, 4)).repeat_interleave(4, 1).repeat_interleave(4, 2)[:, None].float()
    expected = ((sampled - images).abs() * pixels).sum() / pixels.sum() / 3
    torch.testing.assert_close(module(Batch(images), mask).total, expected)
    output = module.predict(Batch(images), mask)
    base = module(Batch(images), mask).total
    monkeypatch.setattr(module, "predict", lambda *_: torch.where(mask.masked[..., None], output, output + 7))
    assert torch.equal(module(Batch(images), mask).total, base)
    monkeypatch.setattr(module, "predict", lambda *_: torch.where(mask.masked[..., None], output + 7, output))
    assert module(Batch(images), mask).total > base + 1


def test_mae_never_sees_hidden_pixels_and_simmim_neither():
    for module in (mae().eval(), simmim().eval()):
        images = make_images(1)
        mask = module.mask(Batch(images, rng=SampleRNG([3])))
        other = images.clone()
        position = int(mask.drop[0, 0])
        row, column = 4 * (position // 4), 4 * (position % 4)
        other[:, :, row : row + 4, column : column + 4] = 0.5
        assert torch.equal(module.predict(Batch(images), mask), module.predict(Batch(other), mask))


def test_only_scored_patches_count_and_parts_are_free():
    module, images = mae(Block(6, 2)).eval(), make_images(2)
    mask = module.mask(Batch(images, rng=SampleRNG([1, 2])))
    part = mask.masked & (torch.arange(16) < 8)
    loss = module(Batch(images), Mask(mask.masked, part)).total
    distance = module.target.loss(module.predict(Batch(images), mask), module.target(images))
    torch.testing.assert_close(loss, distance[part].mean())
    hog = HogTarget(4)
    objective = MIM(mae_vit(**SIZES), MaeDecoder(16, 4, 32, 16, 1, 2, output=hog.dim), hog, Random())
    objective(batch()).total.backward()
    assert objective.encoder.patch_embed.proj.weight.grad.abs().sum() > 0
    with pytest.raises(UserError, match="build both for the same patch"):
        MIM(mae_vit(**SIZES), MaeDecoder(16, 4, 32, 16, 1, 2), PixelTarget(8), Random())
