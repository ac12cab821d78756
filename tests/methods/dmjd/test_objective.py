"""DMJD: both branches learn, views and targets are paired, and what each loss sees."""

import pytest
import torch

from mimgen.decoders.mae import MaeDecoder
from mimgen.encoders.vit import mae_vit
from mimgen.errors import UserError
from mimgen.masking.disjoint import Disjoint
from mimgen.methods.dmjd.branch import VisibleBranch
from mimgen.methods.dmjd.encoder import ConvVitEncoder
from mimgen.methods.dmjd.objective import DMJD
from mimgen.methods.dmjd.target import WhitenedHog
from mimgen.types import Batch, Mask, SampleRNG


def make_images(count=4):
    generator = torch.Generator().manual_seed(0)
    return torch.rand(count, 3, 8, 8, generator=generator).repeat_interleave(2, 2).repeat_interleave(2, 3)


def batch(step=0, count=4):
    return Batch(make_images(count), ("",) * count, ("",) * count, SampleRNG.for_rows(0, step, range(count)))


def objective(conv=True, branch=True, **options):
    torch.manual_seed(0)
    if conv:
        encoder = ConvVitEncoder(16, (1, 2, 2), (4, 8, 32), (1, 1, 1), 2)
    else:
        encoder = mae_vit(image_size=16, patch=4, width=32, depth=1, heads=2)
    target = WhitenedHog(4)
    decoder = MaeDecoder(16, 4, 32, 16, 1, 2, target.dim, encoder.prefix)
    visible = VisibleBranch(32, 16, target.dim) if branch else None
    return DMJD(encoder, decoder, visible, target, Disjoint(unit=1), **options)


def chosen(module, count=2):
    first, second = module.masking((4, 4), SampleRNG(range(count)))
    return Mask(torch.cat([first.masked, second.masked]))


@pytest.mark.parametrize("conv", [True, False])
def test_both_branches_learn(conv):
    trained = objective(conv).train()
    optimiser = torch.optim.AdamW((p for p in trained.parameters() if p.requires_grad), 3e-3)
    history = []
    for step in range(40):
        losses = trained(batch(step))
        optimiser.zero_grad()
        losses.total.backward()
        optimiser.step()
        history.append({name: float(term.detach()) for name, term in losses.terms.items()})
    assert set(losses.terms) == {"masked", "visible"}
    for name in losses.terms:
        assert sum(h[name] for h in history[-5:]) < 0.95 * sum(h[name] for h in history[:5])
    assert float(losses.metrics["coverage"]) == 1.0


def test_the_losses_are_means_over_hidden_and_over_visible_patches():
    module, images = objective(theta=0.5).eval(), make_images(2)
    mask, goal = chosen(module), module.target(images)
    losses = module(Batch(images), mask)
    tokens = module.encoder(torch.cat([images, images]), mask)
    goals = torch.cat([goal, goal])
    error = (module.decoder(tokens, mask) - goals)[mask.masked].square().mean()
    torch.testing.assert_close(losses.terms["masked"], error)
    difference = (module.visible(tokens) - goals[~mask.masked].unflatten(0, (4, -1))).abs()
    smooth = torch.where(difference < 2, difference**2 / 4, difference - 1).mean()
    torch.testing.assert_close(losses.terms["visible"], smooth)
    torch.testing.assert_close(losses.total, error + 0.5 * smooth)


def test_views_are_stacked_one_after_the_other():
    """The loss of a stack is that of its images alone: no view meets another image's target."""
    module, images = objective().eval(), make_images(2)
    mask = chosen(module)
    together = module(Batch(images), mask).terms
    alone = [module(Batch(images[i : i + 1]), Mask(mask.masked[i::2])).terms for i in range(2)]
    for name, term in together.items():
        torch.testing.assert_close(term, (alone[0][name] + alone[1][name]) / 2)


def test_official_pairs_compare_other_patches():
    module, images = objective().eval(), make_images(2)
    mask = chosen(module)
    usual = module(Batch(images), mask)
    kept = torch.arange(mask.keep.shape[1]).expand(4, -1)
    same = module(Batch(images), mask, pairs=kept)
    shuffled = module(Batch(images), mask, pairs=kept.flip(1))
    assert torch.equal(usual.total, same.total)
    assert torch.equal(usual.terms["masked"], shuffled.terms["masked"])
    assert not torch.equal(usual.terms["visible"], shuffled.terms["visible"])


def test_the_visible_branch_is_optional_and_distances_are_free():
    alone = objective(branch=False)(batch())
    assert set(alone.terms) == {"masked"}
    swapped = objective(distance="smooth", visible_distance="squared")(batch())
    usual = objective()(batch())
    absolute = objective(distance="absolute")(batch())
    assert absolute.terms["masked"] != usual.terms["masked"]
    assert swapped.terms["masked"] < usual.terms["masked"]
    assert swapped.terms["visible"] > usual.terms["visible"]


def test_what_does_not_fit_is_named():
    encoder = ConvVitEncoder(16, (1, 2, 2), (4, 8, 32), (1, 1, 1), 2)
    decoder, target = MaeDecoder(16, 4, 32, 16, 1, 2, 108, 0), WhitenedHog(4)
    with pytest.raises(UserError, match="predicts 12 numbers per patch and the target has 108"):
        DMJD(encoder, decoder, VisibleBranch(32, 16, 12), target)
    with pytest.raises(UserError, match="squared, absolute, smooth"):
        DMJD(encoder, decoder, None, target, distance="l2")
