"""HAP: two masked views, their alignment, data with and without joints."""

import dataclasses

import pytest
import torch

from mimgen.data.builtin.figures import open_figures
from mimgen.data.loader import Loader
from mimgen.decoders.mae import MaeDecoder
from mimgen.encoders.vit import mae_vit
from mimgen.errors import UserError
from mimgen.methods.hap.masking import Parts
from mimgen.methods.hap.objective import HAP, contrast, matched
from mimgen.methods.mim import MIM
from mimgen.targets import PixelTarget
from mimgen.types import Batch, Mask, SampleRNG


def objective(masking=None, **options):
    torch.manual_seed(0)
    encoder = mae_vit(image_size=(32, 16), patch=4, width=32, depth=1, heads=2)
    decoder = MaeDecoder((32, 16), 4, 32, 16, 1, 2)
    return HAP(encoder, decoder, PixelTarget(4, last=True), masking or Parts(minimum=4), **options)


def batches(count=8):
    return Loader(open_figures(32, "val"), count, 0, prefetch=0).stream(0)


def test_it_learns():
    trained = objective(alignment_weight=0.5).train()
    optimiser = torch.optim.AdamW((p for p in trained.parameters() if p.requires_grad), 1e-2)
    batch, history = next(batches())[0], []
    for step in range(16):
        losses = trained(dataclasses.replace(batch, rng=SampleRNG.for_rows(0, step, range(8))))
        optimiser.zero_grad()
        losses.total.backward()
        optimiser.step()
        history.append({name: float(value.detach()) for name, value in losses.terms.items()})
    for name in ("reconstruction", "alignment"):
        assert sum(h[name] for h in history[-4:]) < 0.95 * sum(h[name] for h in history[:4])


def test_the_loss_is_that_of_mae_in_both_views():
    module, images = objective(alignment_weight=0.0).eval(), next(batches(2))[0].images
    masks = [Mask(torch.rand(2, 32).argsort(1) < 16) for _ in range(2)]
    losses = module(Batch(images), *masks)
    plain = MIM(module.encoder, module.decoder, module.target, lambda grid, rng: masks[0])
    expected = sum(plain(Batch(images), mask).total for mask in masks) / 2
    torch.testing.assert_close(losses.total, expected)
    assert set(losses.terms) == {"reconstruction"}


def test_alignment_is_symmetric_in_the_views_and_least_where_they_agree():
    module, images = objective().eval(), next(batches(4))[0].images
    masks = [Mask(torch.rand(4, 32).argsort(1) < 16) for _ in range(2)]
    one, other = module(Batch(images), *masks), module(Batch(images), *masks[::-1])
    torch.testing.assert_close(one.terms["alignment"], other.terms["alignment"])
    torch.testing.assert_close(one.total, one.terms["reconstruction"] + 0.05 * one.terms["alignment"])
    vectors = torch.eye(4)
    minimum = contrast(vectors, vectors, 0.2)
    torch.testing.assert_close(minimum, 0.4 * torch.log(1 + 3 * torch.tensor(-5.0).exp()))
    for seed in range(5):
        torch.manual_seed(seed)
        assert contrast(vectors, vectors + torch.randn(4, 4), 0.2) > minimum
    assert matched(vectors, vectors) == 1 and matched(vectors, vectors.roll(1, 0)) == 0


def test_keys_give_no_gradient():
    queries, keys = torch.randn(3, 5, requires_grad=True), torch.randn(3, 5, requires_grad=True)
    contrast(queries, keys, 0.2).backward()
    assert queries.grad.abs().sum() > 0 and keys.grad is None


def test_views_have_masks_of_their_own_that_follow_the_joints(monkeypatch):
    module, seen = objective(), []
    sample = module.mask
    monkeypatch.setattr(module, "mask", lambda batch: seen.append(sample(batch)) or seen[-1])
    module(next(batches())[0])
    first, second = (mask.masked for mask in seen)
    assert not torch.equal(first, second)
    assert first.sum(1).tolist() == second.sum(1).tolist() == [16] * 8


def test_data_without_joints():
    batch = dataclasses.replace(next(batches())[0], extras={})
    with pytest.raises(UserError, match="have no keypoints"):
        objective()(batch)
    assert torch.isfinite(objective(Parts(maximum=0, minimum=4))(batch).total)


def test_mistakes_are_named():
    built = objective()
    with pytest.raises(UserError, match="class_token=True"):
        HAP(
            mae_vit(image_size=16, patch=4, width=32, depth=1, heads=2, class_token=False, pool="mean"),
            built.decoder, built.target,
        )  # fmt: skip
    with pytest.raises(UserError, match="same patch"):
        HAP(built.encoder, built.decoder, PixelTarget(8))
