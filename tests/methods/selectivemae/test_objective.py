"""SelectiveMAE: the score of patches, what costs nothing, stages over the training, and that it learns."""

import pytest
import torch

from mimgen.encoders.vit import mae_vit
from mimgen.errors import UserError
from mimgen.methods.selectivemae.decoder import SubsetDecoder
from mimgen.methods.selectivemae.masking import Selective
from mimgen.methods.selectivemae.objective import SelectiveMAE, descriptors, edge_strength
from mimgen.targets import PixelTarget
from mimgen.types import Batch, SampleRNG

SIZES = {"image_size": 32, "patch": 4, "width": 32, "depth": 1, "heads": 2}


def make_images(count=8):
    generator = torch.Generator().manual_seed(0)
    return torch.rand(count, 3, 8, 8, generator=generator).repeat_interleave(4, 2).repeat_interleave(4, 3)


def batch(step=0, count=8):
    return Batch(make_images(count), ("",) * count, ("",) * count, SampleRNG.for_rows(0, step, range(count)))


def objective(selection=None, **options):
    torch.manual_seed(0)
    target = PixelTarget(4, normalise=False, last=True)
    return SelectiveMAE(mae_vit(**SIZES), SubsetDecoder(32, 4, 32, 24, 1, 2), target, selection, **options)


def textured(size=32):
    """A flat image with one textured corner of 8 pixels."""
    image = torch.full((1, 3, size, size), 0.5)
    image[:, :, :8, :8] = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    return image


def test_a_textured_patch_scores_higher_and_the_released_score_tells_nothing():
    score = edge_strength(textured(), 8)[0]
    assert score.argmax() == 0 and float(score[0]) > 2 + float(score[10])
    released = descriptors(textured(), 8)
    assert released.shape == (1, 16, 27)
    torch.testing.assert_close(released.mean(-1), torch.zeros(1, 16), atol=1e-5, rtol=0)
    module = objective(score="released")
    module.encoder.patch = 8
    assert float(module.guide(textured()).abs().max()) < 1e-5
    with pytest.raises(UserError, match="multiple of 8"):
        descriptors(textured(), 4)


def test_object_patches_are_seen_more_often():
    images = textured().expand(100, -1, -1, -1)
    mask = objective().mask(Batch(images, rng=SampleRNG(range(100))))
    corner = torch.zeros(8, 8, dtype=torch.bool)
    corner[:2, :2] = True
    seen = (~mask.masked)[:, corner.flatten()].float().sum() / (~mask.masked).sum()
    assert float(seen) > 1.5 * 4 / 64


def test_ignored_patches_change_neither_loss_nor_gradient():
    module, images = objective().train(), make_images(2)
    mask = module.mask(Batch(images, rng=SampleRNG([0, 1])))
    ignored = mask.masked & ~mask.predict
    pixels = ignored.unflatten(1, (8, 8)).repeat_interleave(4, 1).repeat_interleave(4, 2)[:, None]
    found = []
    for shown in (images, torch.where(pixels, torch.rand_like(images), images)):
        module.zero_grad()
        loss = module(Batch(shown), mask).total
        loss.backward()
        found.append((loss.detach(), module.encoder.patch_embed.proj.weight.grad.clone()))
    assert int(ignored.sum()) == 2 * (64 - 9 - 16)
    assert torch.equal(found[0][0], found[1][0]) and torch.equal(found[0][1], found[1][1])


def test_stages_go_with_the_steps():
    images, rng = make_images(4), range(4)
    module = objective(Selective(marks=(0.2, 0.4, 0.6, 0.8)))
    tokens, _ = module.tokens(images)
    unit = torch.nn.functional.normalize(tokens.detach(), dim=-1)

    def closeness(step):
        seen = ~module.mask(Batch(images, rng=SampleRNG(rng), step=step, steps=10)).masked
        chosen = unit[seen].unflatten(0, (4, -1))
        return float((chosen @ chosen.transpose(1, 2)).mean())

    assert closeness(6) < closeness(1) - 0.05


def test_it_learns_and_the_loss_is_the_mean_over_scored_patches():
    trained = objective().train()
    optimiser = torch.optim.AdamW((p for p in trained.parameters() if p.requires_grad), 3e-3)
    history = []
    for step in range(40):
        losses = trained(batch(step))
        optimiser.zero_grad()
        losses.total.backward()
        optimiser.step()
        history.append(float(losses.total.detach()))
    assert sum(history[-5:]) < 0.7 * sum(history[:5])
    images, mask = make_images(2), trained.mask(Batch(make_images(2), rng=SampleRNG([0, 1])))
    goal, output = trained.target(images), trained.predict(Batch(images), mask)
    expected = (output - goal)[mask.predict].square().mean()
    torch.testing.assert_close(trained(Batch(images), mask).total, expected)
    with pytest.raises(UserError, match="edges"):
        objective(score="hog")
