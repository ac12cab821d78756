"""LatentMIM: who sees what, closed forms of the losses, the slow copy, schedules, and collapse without it."""

import dataclasses
import math

import pytest
import torch
import torch.nn.functional as F

from mimgen.errors import UserError
from mimgen.masking.random import Random
from mimgen.methods.latentmim.networks import LatentDecoder, LatentVit
from mimgen.methods.latentmim.objective import LatentMIM, contrast, mean_cosine, nearest, squared
from mimgen.methods.moving_average import Momentum
from mimgen.types import Batch, Mask, SampleRNG


def make_images(step=0, count=8, side=20):
    generator = torch.Generator().manual_seed(step)
    coarse = torch.rand(count, 3, 5, 5, generator=generator)
    return F.interpolate(coarse, (side, side), mode="bilinear")


def batch(step=0, count=8, side=20):
    return Batch(
        make_images(step, count, side),
        ("",) * count,
        ("",) * count,
        SampleRNG.for_rows(0, step, range(count)),
    )


def objective(momentum=Momentum(0.9), **options):  # noqa: B008 (frozen)
    torch.manual_seed(0)
    encoder = LatentVit(16, 4, 32, 1, 2, head_width=32, head_depth=2)
    return LatentMIM(
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


def changed(images, positions):
    """Images [B, 3, 16, 16] with other pixels in the chosen patches [B, 16]."""
    pixels = positions.unflatten(1, (4, 4)).repeat_interleave(4, 1).repeat_interleave(4, 2)[:, None]
    return torch.where(pixels, torch.rand(images.shape, generator=torch.Generator().manual_seed(9)), images)


def test_the_copy_sees_masked_patches_only_and_the_encoder_visible_ones():
    module, images = objective().eval(), make_images(0, 2, 16)
    mask = Random(0.75)((4, 4), SampleRNG([0, 1]))
    assert module.targets(images, mask).shape == (2, 12, 32)
    visible_changed, hidden_changed = changed(images, ~mask.masked), changed(images, mask.masked)
    assert torch.equal(module.targets(images, mask), module.targets(visible_changed, mask))
    assert not torch.allclose(module.targets(images, mask), module.targets(hidden_changed, mask))
    tokens = [module.encoder.latents(shown, mask).patches for shown in (images, hidden_changed, visible_changed)]
    assert torch.equal(tokens[0], tokens[1]) and not torch.allclose(tokens[0], tokens[2])
    assert not torch.equal(objective(full_view=True).eval().targets(images, mask), module.targets(images, mask))


def test_closed_forms_of_the_contrast():
    count, heatmap = 12, 0.2
    perfect = torch.eye(count)[None]
    expected = 2 * heatmap * (math.log(math.exp(1 / heatmap) + count - 1) - 1 / heatmap)
    assert float(nearest(perfect, perfect, heatmap)) == pytest.approx(expected, rel=1e-5)
    constant = torch.ones(2, count, 8)
    assert float(contrast(torch.randn(2, count, 8), constant, heatmap)) == pytest.approx(2 * heatmap * math.log(count))


def test_predictions_are_standardised_within_their_image():
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
    module = objective(similarity=(0.75, 0.25), similarity_weight=0.5)
    for progress, expected in ((0.0, 0.75), (0.5, 0.5), (1.0, 0.25)):
        assert module.target_similarity(progress) == pytest.approx(expected)
    losses = module(dataclasses.replace(batch(), step=11, steps=10))
    visible = losses.metrics["similarity_visible"]
    torch.testing.assert_close(losses.terms["similar_visible"].detach(), (visible - 0.25) ** 2)
    expected = losses.terms["latent"] + 0.5 * (losses.terms["similar_visible"] + losses.terms["similar_predictions"])
    torch.testing.assert_close(losses.total, expected)
    assert set(objective(similarity_weight=0.0)(batch()).terms) == {"latent"}


def test_the_copy_follows_slowly_and_has_no_gradient():
    module = objective(Momentum(end=0.9))
    before = module.target_encoder.norm.weight.clone()
    module(batch()).total.backward()
    assert all(parameter.grad is None for parameter in module.teacher.parameters())
    module.encoder.norm.weight.data += 1
    module.after_step(1)
    torch.testing.assert_close(module.target_encoder.norm.weight, before + 0.1)
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
    offsets = objective(gap=2).offsets((4, 4), SampleRNG(range(50)))
    assert offsets.shape == (50, 2, 4, 4) and offsets.unique().tolist() == [0, 1]
    assert objective(gap=0)(batch(side=16)).total.isfinite()
    with pytest.raises(UserError, match="multiple of 6"):
        objective(gap=2)(batch())
    with pytest.raises(UserError, match='"contrast" or "squared"'):
        objective(loss="l1")
    with pytest.raises(UserError, match="the same width"):
        LatentMIM(LatentVit(16, 4, 32, 1, 2), LatentDecoder(16, 4, 16, 24, 1, 2), Random(), None)


def test_visible_and_hidden_cover_the_image():
    mask = Random(1 - 4 / 16)((4, 4), SampleRNG([0, 1]))
    both = torch.cat([mask.keep, mask.drop], dim=1).sort(1).values
    assert torch.equal(both, torch.arange(16).expand(2, -1)) and Mask(~mask.masked).keep.equal(mask.drop)
