"""HPM: what the predictor learns from, whom the teacher follows, and that the hard patches become masked."""

import math

import pytest
import torch

from mimgen.encoders.vit import VitEncoder, mae_vit
from mimgen.errors import UserError
from mimgen.masking.random import Random
from mimgen.methods.hpm.masking import Hard
from mimgen.methods.hpm.networks import LossPredictor
from mimgen.methods.hpm.objective import HPM
from mimgen.methods.moving_average import Momentum
from mimgen.targets import PixelTarget
from mimgen.types import Batch, Mask, SampleRNG

SIZES = {"image_size": 16, "patch": 4, "width": 32, "depth": 1, "heads": 2}


def make_images(count=8, seed=0):
    """Grey images with noise that grows to the right, where patches are hard to predict."""
    noise = torch.rand(count, 3, 16, 16, generator=torch.Generator().manual_seed(seed))
    return 0.5 + (noise - 0.5) * torch.linspace(0, 1, 16)


def batch(step=0, count=8):
    return Batch(make_images(count, step), ("",) * count, ("",) * count, SampleRNG.for_rows(0, step, range(count)))


def objective(encoder=None, **options):
    torch.manual_seed(0)
    target = PixelTarget(4, normalise=False, last=True)
    decoder = LossPredictor(16, 4, 32, 24, 1, 2)
    options = {"momentum": Momentum(0.8, 0.8), **options}
    return HPM(encoder or mae_vit(**SIZES), decoder, target, **options)


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
    trained = objective().train()
    history = train(trained, 60)
    assert set(history[0]) == {"reconstruction", "predictor", "ranked", "hard"}
    assert history[-1]["predictor"] < math.log(2) < history[0]["predictor"] + 0.1
    seen = make_images(32, 1000)
    noisy = (torch.arange(16) % 4 == 3).expand(32, 16)
    mask = trained.eval().mask(Batch(seen, rng=SampleRNG(range(32))))
    by_chance = Random()((4, 4), SampleRNG(range(32)))
    coverage = (mask.masked & noisy).sum() / (by_chance.masked & noisy).sum()
    assert coverage > 1.15
    # Kendall's tau of prediction and true loss on masks of chance
    assert 2 * trained(Batch(seen), by_chance).metrics["ranked"] - 1 > 0.3


def test_the_share_of_hard_patches_grows_evenly():
    grown = objective()
    shares = [grown.share(Batch(make_images(1), step=step, steps=4)) for step in range(1, 6)]
    assert shares == [0.125, 0.25, 0.375, 0.5, 0.5]
    assert grown.share(Batch(make_images(1))) == 0.5
    assert not [name for name, _ in grown.named_buffers() if "." not in name], "the loop knows the step"


def test_the_guided_part_is_the_top_of_the_teachers_scores():
    module = objective(masking=Hard(0.75, 0.5)).eval()
    images = make_images(4)
    scores, mask = module.guide(images), module.mask(Batch(images, rng=SampleRNG(range(4))))
    assert mask.masked.gather(1, scores.topk(6, dim=1).indices).all()
    assert (mask.masked.sum(1) == 12).all()


def test_the_predictor_gives_no_gradient_to_the_reconstruction_or_the_teacher():
    module = objective().train()
    images, mask = make_images(4), Random()((4, 4), SampleRNG(range(4)))
    module(Batch(images), mask).terms["predictor"].backward()
    decoder = module.student.decoder
    assert decoder.pred.weight.grad is None and decoder.blocks[0].mlp.fc1.weight.grad is None
    assert decoder.pred_losspred.weight.grad.abs().max() > 0
    # what the paper lets through: the encoder learns from both
    assert module.encoder.patch_embed.proj.weight.grad.abs().max() > 0
    assert all(parameter.grad is None for parameter in module.teacher.parameters())


def test_the_teacher_follows_and_judges_intact_images():
    module = objective(momentum=Momentum(0.5, 0.5)).train()
    assert not module.teacher.training
    before = module.teacher.module.encoder.norm.weight.clone()
    with torch.no_grad():
        module.encoder.norm.weight += 1
    module.after_step(1)
    torch.testing.assert_close(module.teacher.module.encoder.norm.weight, before + 0.5)
    assert module.guide(make_images(2)).shape == (2, 16)
    assert not module.guide(make_images(2)).requires_grad


def test_veiled_patches_are_visible_ones_shown_as_a_token():
    torch.manual_seed(0)
    encoder = VitEncoder(**SIZES, mask_token="visible")
    masked_visible = objective(encoder, masked_visible=0.5).eval()
    mask = masked_visible.mask(Batch(make_images(4), rng=SampleRNG(range(4))))
    assert mask.replaced is not None
    assert (mask.replaced.sum(1) == 2).all() and not (mask.replaced & mask.masked).any()
    images = torch.rand(1, 3, 16, 16)
    changed, position = images.clone(), int(mask.replaced[0].nonzero()[0])
    row, column = 4 * (position // 4), 4 * (position % 4)
    changed[:, :, row : row + 4, column : column + 4] = 0
    one = Mask(mask.masked[:1], replaced=mask.replaced[:1])
    assert torch.equal(encoder(images, one).patches, encoder(changed, one).patches)
    assert not torch.equal(encoder(images).patches, encoder(changed).patches)


def test_what_does_not_fit_is_named():
    with pytest.raises(UserError, match="build both for the same patch"):
        HPM(mae_vit(**SIZES), LossPredictor(16, 4, 32, 24, 1, 2, output=5), PixelTarget(4))
    with pytest.raises(UserError, match="mask_token"):
        objective(masked_visible=0.5)
