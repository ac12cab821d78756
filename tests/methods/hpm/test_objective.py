"""HPM: what the predictor learns from, whom the teacher follows, and that the hard patches become hidden."""

import math

import pytest
import torch

from mimgen.encoders.mae import mae_vit
from mimgen.errors import UserError
from mimgen.masking.random import Random
from mimgen.methods.hpm.masking import Hard
from mimgen.methods.hpm.networks import LossPredictor, VeiledMask, VeilingVit
from mimgen.methods.hpm.objective import HardPatches
from mimgen.methods.hpm.ranking import ranked
from mimgen.methods.moving_average import Momentum
from mimgen.targets import PixelTarget
from mimgen.types import Batch, Draws

SIZES = {"image_size": 16, "patch": 4, "width": 32, "depth": 1, "heads": 2}


def pictures(count=8, seed=0):
    """Grey pictures with noise that grows to the right, where patches are hard to tell."""
    noise = torch.rand(count, 3, 16, 16, generator=torch.Generator().manual_seed(seed))
    return 0.5 + (noise - 0.5) * torch.linspace(0, 1, 16)


def batch(step=0, count=8):
    return Batch(pictures(count, step), ("",) * count, ("",) * count, Draws.for_rows(0, step, range(count)))


def objective(encoder=None, **options):
    torch.manual_seed(0)
    target = PixelTarget(4, normalise=False, last=True)
    decoder = LossPredictor(16, 4, 32, 24, 1, 2)
    options = {"momentum": Momentum(0.8, 0.8), **options}
    return HardPatches(encoder or mae_vit(**SIZES), decoder, target, **options)


def train(trained, steps, rate=3e-3, count=8):
    optimiser = torch.optim.AdamW((p for p in trained.parameters() if p.requires_grad), rate)
    history = []
    for step in range(steps):
        losses = trained(batch(step, count))
        optimiser.zero_grad()
        losses.total.backward()
        optimiser.step()
        trained.after_step(step + 1)
        history.append({name: float(value.detach()) for name, value in {**losses.terms, **losses.metrics}.items()})
    return history


def test_it_learns_which_patches_are_hard_and_hides_them():
    trained = objective(steps=60).train()
    history = train(trained, 60)
    assert set(history[0]) == {"reconstruction", "predictor", "ranked", "hard"}
    assert history[-1]["predictor"] < math.log(2) < history[0]["predictor"] + 0.1
    seen = pictures(32, 1000)
    noisy = (torch.arange(16) % 4 == 3).expand(32, 16)
    mask = trained.eval().mask(seen, Draws(range(32)))
    by_chance = Random()((4, 4), Draws(range(32)))
    coverage = (mask.hidden & noisy).sum() / (by_chance.hidden & noisy).sum()
    assert coverage > 1.15
    # Kendall's tau of prediction and true loss on masks of chance
    step = trained.judged(seen, trained.student(seen, by_chance), by_chance)
    assert 2 * ranked(step.hardness, step.distances) - 1 > 0.3


def test_the_share_of_hard_patches_grows_evenly():
    grown = objective(steps=4)
    shares = []
    for step in range(5):
        shares.append(grown.share())
        grown.after_step(step + 1)
    assert shares == [0.125, 0.25, 0.375, 0.5, 0.5]
    again = objective(steps=4)
    again.load_state_dict(grown.state_dict())
    assert again.share() == 0.5
    assert objective().share() == 0.5


def test_the_guided_part_is_the_top_of_the_teachers_scores():
    judged = objective(masking=Hard(0.75, 0.5)).eval()
    images = pictures(4)
    scores, mask = judged.guide(images), judged.mask(images, Draws(range(4)))
    assert mask.hidden.gather(1, scores.topk(6, dim=1).indices).all()
    assert (mask.hidden.sum(1) == 12).all()


def test_the_predictor_gives_no_gradient_to_the_reconstruction_or_the_teacher():
    judged = objective().train()
    images, mask = pictures(4), Random()((4, 4), Draws(range(4)))
    judged.losses(images, mask).terms["predictor"].backward()
    decoder = judged.student.decoder
    assert decoder.pred.weight.grad is None and decoder.blocks[0].mlp.fc1.weight.grad is None
    assert decoder.pred_losspred.weight.grad.abs().max() > 0
    # what the paper lets through: the encoder learns from both
    assert judged.encoder.patch_embed.proj.weight.grad.abs().max() > 0
    assert all(parameter.grad is None for parameter in judged.teacher.parameters())


def test_the_teacher_follows_and_judges_intact_pictures():
    judged = objective(momentum=Momentum(0.5, 0.5)).train()
    assert not judged.teacher.training
    before = judged.teacher.module.encoder.norm.weight.clone()
    with torch.no_grad():
        judged.encoder.norm.weight += 1
    judged.after_step(1)
    torch.testing.assert_close(judged.teacher.module.encoder.norm.weight, before + 0.5)
    assert judged.guide(pictures(2)).shape == (2, 16)
    assert not judged.guide(pictures(2)).requires_grad


def test_veiled_patches_are_visible_ones_shown_as_a_token():
    torch.manual_seed(0)
    encoder = VeilingVit(**SIZES)
    veiling = objective(encoder, veiled=0.5).eval()
    mask = veiling.mask(pictures(4), Draws(range(4)))
    assert isinstance(mask, VeiledMask)
    assert (mask.veiled.sum(1) == 2).all() and not (mask.veiled & mask.hidden).any()
    images = torch.rand(1, 3, 16, 16)
    changed, place = images.clone(), int(mask.veiled[0].nonzero()[0])
    row, column = 4 * (place // 4), 4 * (place % 4)
    changed[:, :, row : row + 4, column : column + 4] = 0
    one = VeiledMask(mask.hidden[:1], veiled=mask.veiled[:1])
    assert torch.equal(encoder(images, one).patches, encoder(changed, one).patches)
    assert not torch.equal(encoder(images).patches, encoder(changed).patches)


def test_what_does_not_fit_is_named():
    with pytest.raises(UserError, match="build both for the same patch"):
        HardPatches(mae_vit(**SIZES), LossPredictor(16, 4, 32, 24, 1, 2, output=5), PixelTarget(4))
    with pytest.raises(UserError, match="VeilingVit"):
        objective(veiled=0.5)
