"""CAE: who sees what, where gradients go, what the teacher is, and that both terms are learned."""

import pytest
import torch

from mimgen.errors import UserError
from mimgen.masking.block import Block
from mimgen.methods.cae.networks import CaeDecoder, CaeEncoder
from mimgen.methods.cae.objective import CAE
from mimgen.methods.moving_average import Momentum
from mimgen.targets import CodeTarget, PixelTarget
from mimgen.tokenizers.centroids import CentroidTokenizer
from mimgen.types import Batch, Mask, SampleRNG


def make_images(count=8):
    generator = torch.Generator().manual_seed(0)
    return torch.rand(count, 3, 4, 4, generator=generator).repeat_interleave(4, 2).repeat_interleave(4, 3)


def batch(step=0, count=8):
    return Batch(make_images(count), ("",) * count, ("",) * count, SampleRNG.for_rows(0, step, range(count)))


def objective(target=None, width=32, **options):
    torch.manual_seed(0)
    target = target or CodeTarget(CentroidTokenizer.from_centroids(torch.rand(16, 48)))
    encoder = CaeEncoder(16, 4, 32, 2, 2)
    decoder = CaeDecoder(target.dim, 32, width, 1, 1, 2)
    return CAE(encoder, decoder, target, Block(8, 2), **options)


def mask(count=4):
    return Block(8, 2)((4, 4), SampleRNG(range(count)))


def elsewhere(images, positions):
    """Images with the first of `positions` [B, M] of each row painted over."""
    changed = images.clone()
    for row, position in enumerate(positions[:, 0].tolist()):
        top, left = 4 * (position // 4), 4 * (position % 4)
        changed[row, :, top : top + 4, left : left + 4] = 0
    return changed


@pytest.mark.parametrize("kind", ["codes", "pixels", "projected"])
def test_both_terms_fall(kind):
    target = PixelTarget(4, normalise=False) if kind == "pixels" else None
    trained = objective(target, 24 if kind == "projected" else 32).train()
    optimiser = torch.optim.AdamW((p for p in trained.parameters() if p.requires_grad), 3e-3)
    history = []
    for step in range(30):
        losses = trained(batch(step))
        optimiser.zero_grad()
        losses.total.backward()
        optimiser.step()
        trained.after_step(step + 1)
        history.append({name: float(term.detach()) for name, term in losses.terms.items()})
    assert set(history[0]) == {"target", "align"}
    assert ("accuracy" in losses.metrics) == (kind != "pixels")
    assert sum(line["target"] for line in history[-5:]) < 0.9 * sum(line["target"] for line in history[:5])


def test_the_encoder_does_not_see_masked_patches_and_the_teacher_only_them():
    module = objective().eval()
    images = make_images(4)
    masked, seen = elsewhere(images, mask().drop), elsewhere(images, mask().keep)
    assert torch.equal(module.encoder(images, mask()).patches, module.encoder(masked, mask()).patches)
    assert not torch.equal(module.encoder(images, mask()).patches, module.encoder(seen, mask()).patches)
    assert torch.equal(module.latents(images, mask()), module.latents(seen, mask()))
    assert not torch.equal(module.latents(images, mask()), module.latents(masked, mask()))
    expected = module.encoder(images, Mask(~mask().masked)).patches
    torch.testing.assert_close(module.latents(images, mask()), expected)


def test_the_decoder_reads_latents_of_masked_patches_alone():
    module = objective()
    first, second = (module.encoder(images, mask()) for images in (make_images(4), make_images(4).flip(0)))
    made, other = module.decoder(first, mask()), module.decoder(second, mask())
    assert not torch.equal(made.latents, other.latents)
    # with the same latents it says the same, whatever is visible
    assert torch.equal(module.decoder.decode(made.latents, second.grid, mask()), made.predicted)
    through = torch.autograd.grad(made.predicted.square().sum(), (made.latents, first.patches))
    assert all(gradient.abs().max() > 0 for gradient in through)


def test_gradients_stop_at_the_teacher():
    module = objective(width=24).train()
    module(Batch(make_images(4)), mask()).terms["align"].backward()
    assert all(parameter.grad is None for parameter in module.teacher.parameters())
    # aligned are the regressor's latents; the decoder behind them is not concerned
    assert module.decoder.head.weight.grad is None
    assert module.decoder.mask_token.grad.abs().max() > 0
    assert module.encoder.patch_embed.proj.weight.grad.abs().max() > 0


def test_at_momentum_0_the_teacher_is_the_encoder():
    for momentum, expected in ((None, 1.0), (Momentum(0.75, 0.75), 0.25)):
        module = objective(momentum=momentum).train()
        assert not module.teacher.training
        before = module.teacher.module.norm.weight.clone()
        with torch.no_grad():
            module.encoder.norm.weight += 1
        module.after_step(1)
        torch.testing.assert_close(module.teacher.module.norm.weight - before, torch.full((32,), expected))


def test_the_alignment_is_a_mean_over_all_numbers():
    module = objective().eval()
    terms = module(Batch(make_images(4)), mask()).terms
    made = module.decoder(module.encoder(make_images(4), mask()), mask())
    torch.testing.assert_close(terms["align"], (made.latents - module.latents(make_images(4), mask())).square().mean())
    module.weights = {"align": 0.0}
    losses = module(Batch(make_images(4)), mask())
    assert torch.equal(losses.total, losses.terms["target"])


def test_what_does_not_fit_is_named():
    with pytest.raises(UserError, match="output=48"):
        CAE(CaeEncoder(16, 4, 32, 1, 2), CaeDecoder(16, 32, 32, 1, 1, 2), PixelTarget(4))
