"""LatentMIM: who sees what, closed forms of the losses, the slow copy, schedules, and collapse without it."""

import math

import pytest
import torch
import torch.nn.functional as F

from mimgen.errors import UserError
from mimgen.masking.random import Random
from mimgen.methods.latentmim.networks import LatentDecoder, LatentVit
from mimgen.methods.latentmim.objective import LatentModelling, contrast, mean_cosine, nearest, squared
from mimgen.methods.moving_average import Momentum
from mimgen.types import Batch, Draws, Mask


def pictures(step=0, count=8, side=20):
    generator = torch.Generator().manual_seed(step)
    coarse = torch.rand(count, 3, 5, 5, generator=generator)
    return F.interpolate(coarse, (side, side), mode="bilinear")


def batch(step=0, count=8, side=20):
    return Batch(pictures(step, count, side), ("",) * count, ("",) * count, Draws.for_rows(0, step, range(count)))


def objective(momentum=Momentum(0.9), **options):  # noqa: B008 (frozen)
    torch.manual_seed(0)
    encoder = LatentVit(16, 4, 32, 1, 2, head_width=32, head_depth=2)
    return LatentModelling(
        encoder, LatentDecoder(16, 4, 32, 24, 1, 2), Random(0.75), momentum, **{"gap": 1, **options}
    )


def trained(steps=40, **options):
    made = objective(**options).train()
    optimiser = torch.optim.AdamW((p for p in made.parameters() if p.requires_grad), 3e-3)
    history = []
    for step in range(1, steps + 1):
        losses = made(batch(step))
        optimiser.zero_grad()
        losses.total.backward()
        optimiser.step()
        made.after_step(step)
        history.append(losses)
    return made, history


def changed(images, places):
    """Pictures [B, 3, 16, 16] with other pixels in the chosen patches [B, 16]."""
    pixels = places.unflatten(1, (4, 4)).repeat_interleave(4, 1).repeat_interleave(4, 2)[:, None]
    return torch.where(pixels, torch.rand(images.shape, generator=torch.Generator().manual_seed(9)), images)


def test_the_copy_sees_hidden_patches_only_and_the_encoder_visible_ones():
    judged, images = objective().eval(), pictures(0, 2, 16)
    mask = Random(0.75)((4, 4), Draws([0, 1]))
    assert judged.targets(images, mask).shape == (2, 12, 32)
    visible_changed, hidden_changed = changed(images, ~mask.hidden), changed(images, mask.hidden)
    assert torch.equal(judged.targets(images, mask), judged.targets(visible_changed, mask))
    assert not torch.allclose(judged.targets(images, mask), judged.targets(hidden_changed, mask))
    tokens = [judged.encoder.latents(shown, mask).patches for shown in (images, hidden_changed, visible_changed)]
    assert torch.equal(tokens[0], tokens[1]) and not torch.allclose(tokens[0], tokens[2])
    assert not torch.equal(objective(whole=True).eval().targets(images, mask), judged.targets(images, mask))


def test_closed_forms_of_the_contrast():
    count, heat = 12, 0.2
    perfect = torch.eye(count)[None]
    expected = 2 * heat * (math.log(math.exp(1 / heat) + count - 1) - 1 / heat)
    assert float(nearest(perfect, perfect, heat)) == pytest.approx(expected, rel=1e-5)
    constant = torch.ones(2, count, 8)
    assert float(contrast(torch.randn(2, count, 8), constant, heat)) == pytest.approx(2 * heat * math.log(count))


def test_predictions_are_standardised_within_their_picture():
    predicted, goal = torch.randn(2, 2, 6, 8, generator=torch.Generator().manual_seed(0))
    base = contrast(predicted, goal, 0.2)
    torch.testing.assert_close(contrast(3 * predicted + 5, goal, 0.2), base, atol=1e-3, rtol=1e-3)
    alone = [contrast(predicted[i : i + 1], goal[i : i + 1], 0.2) for i in range(2)]
    torch.testing.assert_close(base, (alone[0] + alone[1]) / 2)


def test_squared_error_and_mean_cosine():
    predicted, goal = torch.randn(2, 2, 6, 8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(squared(predicted, 4 * goal + 1), squared(predicted, goal), atol=1e-4, rtol=1e-4)
    unit = F.normalize(goal, dim=-1)
    torch.testing.assert_close(mean_cosine(goal), (unit @ unit.transpose(1, 2)).mean())
    assert float(mean_cosine(torch.ones(2, 5, 3))) == pytest.approx(1)


def test_similarity_falls_and_is_weighed():
    judged = objective(steps=10, similarity=(0.75, 0.25), similarity_weight=0.5)
    assert judged.aimed_similarity() == pytest.approx(0.75)
    judged.after_step(5)
    assert judged.aimed_similarity() == pytest.approx(0.5)
    judged.after_step(10)
    assert judged.aimed_similarity() == pytest.approx(0.25)
    losses = judged(batch())
    visible = losses.metrics["similarity_visible"]
    torch.testing.assert_close(losses.terms["similar_visible"].detach(), (visible - 0.25) ** 2)
    expected = losses.terms["latent"] + 0.5 * (losses.terms["similar_visible"] + losses.terms["similar_predictions"])
    torch.testing.assert_close(losses.total, expected)
    assert set(objective(similarity_weight=0.0)(batch()).terms) == {"latent"}


def test_the_copy_follows_slowly_and_has_no_gradient():
    judged = objective(Momentum(end=0.9))
    before = judged.target_encoder.norm.weight.clone()
    judged(batch()).total.backward()
    assert all(parameter.grad is None for parameter in judged.teacher.parameters())
    judged.encoder.norm.weight.data += 1
    judged.after_step(1)
    torch.testing.assert_close(judged.target_encoder.norm.weight, before + 0.1)
    assert objective(None).target_encoder is not None and objective(None).teacher is None


def test_it_learns():
    _, history = trained()
    first, last = ([float(losses.terms["latent"].detach()) for losses in part] for part in (history[:5], history[-5:]))
    assert sum(last) < sum(first) - 0.05 * 5


def test_the_joint_squared_error_collapses_and_the_method_does_not():
    _, good = trained(40)
    _, bad = trained(40, momentum=None, loss="squared", similarity_weight=0.0)
    assert float(bad[-1].metrics["similarity_target"]) > 0.95
    assert float(good[-1].metrics["similarity_target"]) < 0.9


def test_offsets_stay_below_the_gap_and_what_does_not_fit_is_named():
    offsets = objective(gap=2).offsets((4, 4), Draws(range(50)))
    assert offsets.shape == (50, 2, 4, 4) and offsets.unique().tolist() == [0, 1]
    assert objective(gap=0)(batch(side=16)).total.isfinite()
    with pytest.raises(UserError, match="multiple of 6"):
        objective(gap=2)(batch())
    with pytest.raises(UserError, match='"contrast" or "squared"'):
        objective(loss="l1")
    with pytest.raises(UserError, match="the same width"):
        LatentModelling(LatentVit(16, 4, 32, 1, 2), LatentDecoder(16, 4, 16, 24, 1, 2), Random(), None)


def test_visible_and_hidden_cover_the_picture():
    mask = Random(1 - 4 / 16)((4, 4), Draws([0, 1]))
    both = torch.cat([mask.keep, mask.drop], dim=1).sort(1).values
    assert torch.equal(both, torch.arange(16).expand(2, -1)) and Mask(~mask.hidden).keep.equal(mask.drop)
