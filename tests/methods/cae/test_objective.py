"""CAE: who sees what, where gradients go, what the teacher is, and that both terms are learned."""

import pytest
import torch

from mimgen.errors import UserError
from mimgen.masking.block import Block
from mimgen.methods.cae.networks import CaeDecoder, CaeEncoder
from mimgen.methods.cae.objective import ContextAutoencoder
from mimgen.methods.moving_average import Momentum
from mimgen.targets import CodeTarget, PixelTarget
from mimgen.tokenizers.centroids import CentroidTokenizer
from mimgen.types import Batch, Draws, Mask


def pictures(count=8):
    generator = torch.Generator().manual_seed(0)
    return torch.rand(count, 3, 4, 4, generator=generator).repeat_interleave(4, 2).repeat_interleave(4, 3)


def batch(step=0, count=8):
    return Batch(pictures(count), ("",) * count, ("",) * count, Draws.for_rows(0, step, range(count)))


def objective(target=None, width=32, **options):
    torch.manual_seed(0)
    target = target or CodeTarget(CentroidTokenizer.from_centroids(torch.rand(16, 48)))
    encoder = CaeEncoder(16, 4, 32, 2, 2)
    decoder = CaeDecoder(target.dim, 32, width, 1, 1, 2)
    return ContextAutoencoder(encoder, decoder, target, Block(8, 2), **options)


def mask(count=4):
    return Block(8, 2)((4, 4), Draws(range(count)))


def elsewhere(images, places):
    """Pictures with the first of `places` [B, M] of each row painted over."""
    changed = images.clone()
    for row, place in enumerate(places[:, 0].tolist()):
        top, left = 4 * (place // 4), 4 * (place % 4)
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


def test_the_encoder_does_not_see_hidden_patches_and_the_teacher_only_them():
    judged = objective().eval()
    images = pictures(4)
    hidden, seen = elsewhere(images, mask().drop), elsewhere(images, mask().keep)
    assert torch.equal(judged.encoder(images, mask()).patches, judged.encoder(hidden, mask()).patches)
    assert not torch.equal(judged.encoder(images, mask()).patches, judged.encoder(seen, mask()).patches)
    assert torch.equal(judged.latents(images, mask()), judged.latents(seen, mask()))
    assert not torch.equal(judged.latents(images, mask()), judged.latents(hidden, mask()))
    expected = judged.encoder(images, Mask(~mask().hidden)).patches
    torch.testing.assert_close(judged.latents(images, mask()), expected)


def test_the_decoder_reads_latents_of_hidden_patches_alone():
    judged = objective()
    first, second = (judged.encoder(images, mask()) for images in (pictures(4), pictures(4).flip(0)))
    made, other = judged.decoder(first, mask()), judged.decoder(second, mask())
    assert not torch.equal(made.latents, other.latents)
    # with the same latents it says the same, whatever is visible
    assert torch.equal(judged.decoder.decode(made.latents, second.grid, mask()), made.predicted)
    through = torch.autograd.grad(made.predicted.square().sum(), (made.latents, first.patches))
    assert all(gradient.abs().max() > 0 for gradient in through)


def test_gradients_stop_at_the_teacher():
    judged = objective(width=24).train()
    judged.losses(pictures(4), mask()).terms["align"].backward()
    assert all(parameter.grad is None for parameter in judged.teacher.parameters())
    # aligned are the regressor's latents; the decoder behind them is not concerned
    assert judged.decoder.head.weight.grad is None
    assert judged.decoder.mask_token.grad.abs().max() > 0
    assert judged.encoder.patch_embed.proj.weight.grad.abs().max() > 0


def test_at_momentum_0_the_teacher_is_the_encoder():
    for momentum, expected in ((None, 1.0), (Momentum(0.75, 0.75), 0.25)):
        judged = objective(momentum=momentum).train()
        assert not judged.teacher.training
        before = judged.teacher.module.norm.weight.clone()
        with torch.no_grad():
            judged.encoder.norm.weight += 1
        judged.after_step(1)
        torch.testing.assert_close(judged.teacher.module.norm.weight - before, torch.full((32,), expected))


def test_the_alignment_is_a_mean_over_all_numbers():
    judged = objective().eval()
    terms = judged.losses(pictures(4), mask()).terms
    made = judged.decoder(judged.encoder(pictures(4), mask()), mask())
    torch.testing.assert_close(terms["align"], (made.latents - judged.latents(pictures(4), mask())).square().mean())
    judged.weights = {"align": 0.0}
    losses = judged.losses(pictures(4), mask())
    assert torch.equal(losses.total, losses.terms["target"])


def test_what_does_not_fit_is_named():
    with pytest.raises(UserError, match="output=48"):
        ContextAutoencoder(CaeEncoder(16, 4, 32, 1, 2), CaeDecoder(16, 32, 32, 1, 1, 2), PixelTarget(4))
