"""LUT: disjoint views, an unmasked teacher without gradient, and MAE where the context weighs nothing."""

import pytest
import torch

from mimgen.data.transforms.shifts import ShiftedViews
from mimgen.decoders.mae import MaeDecoder
from mimgen.encoders.vit import mae_vit
from mimgen.errors import UserError
from mimgen.masking.disjoint import Disjoint
from mimgen.methods.lut.objective import LUT, crossed_distance
from mimgen.methods.lut.projection import projection_head
from mimgen.methods.mim import MIM
from mimgen.methods.moving_average import Momentum
from mimgen.targets import PixelTarget
from mimgen.types import Batch, SampleRNG

SIZES = {"image_size": 16, "patch": 4, "width": 32, "depth": 1, "heads": 2}


def make_images(count=8):
    generator = torch.Generator().manual_seed(0)
    return torch.rand(count, 3, 4, 4, generator=generator).repeat_interleave(4, 2).repeat_interleave(4, 3)


def batch(step=0, count=8):
    return Batch(make_images(count), ("",) * count, ("",) * count, SampleRNG.for_rows(0, step, range(count)))


def objective(**options):
    torch.manual_seed(0)
    heads = projection_head(32, 48), projection_head(32, 48)
    target = PixelTarget(4, normalise=False, last=True)
    options = {"momentum": Momentum(0.9, 0.9), **options}
    return LUT(
        mae_vit(**SIZES), MaeDecoder(16, 4, 32, 16, 1, 2), target, *heads, ShiftedViews(1), **options
    )


def masks(count=4):
    return Disjoint(0.75, unit=1)((4, 4), SampleRNG(range(count)))


def test_both_terms_fall():
    trained = objective(context_weight=1.0).train()
    optimiser = torch.optim.AdamW((p for p in trained.parameters() if p.requires_grad), 3e-3)
    history = []
    for step in range(40):
        losses = trained(batch(step))
        optimiser.zero_grad()
        losses.total.backward()
        optimiser.step()
        trained.after_step(step + 1)
        history.append({name: float(term.detach()) for name, term in losses.terms.items()})
    assert set(history[0]) == {"reconstruction", "context"}
    for name in history[0]:
        first, last = (sum(line[name] for line in part) for part in (history[:5], history[-5:]))
        assert last < 0.8 * first, name


@pytest.mark.parametrize("ratio", [0.5, 0.6, 0.75, 0.9])
def test_no_place_is_visible_in_both_views(ratio):
    first, second = Disjoint(ratio, unit=1)((6, 4), SampleRNG(range(100)))
    assert first.keep.shape == second.keep.shape and first.keep.shape[1] >= 1
    assert not (~first.masked & ~second.masked).any()


def forward(module, first, second):
    """The losses of two views with the masks of `masks`."""
    module.views, module.masking = lambda images, rng: (first, second), lambda grid, rng: masks(len(first))
    return module(Batch(first))


def test_without_context_it_is_mae():
    module = objective(context_weight=0.0).eval()
    first, second = make_images(4), make_images(4).flip(3)
    mae = MIM(module.encoder, module.decoder, module.target, lambda grid, rng: masks()[0])
    assert torch.equal(forward(module, first, second).total, mae(Batch(first)).total)


def test_the_distance_runs_from_0_to_4_across_views():
    generator = torch.Generator().manual_seed(0)
    vectors = torch.randn(2, 5, 8, generator=generator)
    torch.testing.assert_close(crossed_distance(vectors, vectors.flip(0)), torch.tensor(0.0))
    torch.testing.assert_close(crossed_distance(vectors, -vectors.flip(0)), torch.tensor(4.0))
    assert crossed_distance(vectors, vectors) > 0.1


def test_the_teacher_sees_everything_and_learns_nothing():
    module = objective().train()
    assert not module.teacher.training
    first, second = make_images(4), make_images(4).flip(2)
    # patches masked from the student change the teacher's vectors, not the student's
    changed = first.clone()
    for row, position in enumerate(masks()[0].drop[:, 0].tolist()):
        top, left = 4 * (position // 4), 4 * (position % 4)
        changed[row, :, top : top + 4, left : left + 4] = 0
    seen, again = (module.encoder(view, masks()[0]).patches for view in (first, changed))
    assert torch.equal(seen, again) and not torch.equal(module.teacher(first), module.teacher(changed))
    assert not module.teacher(first).requires_grad
    forward(module, first, second).total.backward()
    assert all(parameter.grad is None for parameter in module.teacher.parameters())
    assert module.predictor[0].weight.grad is not None


def test_statistics_come_from_each_view_by_itself_and_reach_the_teacher():
    module = objective(momentum=Momentum(0.5, 0.5)).train()
    forward(module, make_images(4), make_images(4))
    assert int(module.student.head[1].num_batches_tracked) == 2
    assert int(module.teacher.module.head[1].num_batches_tracked) == 0
    module.after_step(1)
    mine, theirs = module.student.head[1], module.teacher.module.head[1]
    assert torch.equal(mine.running_mean, theirs.running_mean)


def test_what_does_not_fit_is_named():
    with pytest.raises(UserError, match="build both for the same patch"):
        LUT(
            mae_vit(**SIZES), MaeDecoder(16, 4, 32, 16, 1, 2, output=5), PixelTarget(4),
            projection_head(32), projection_head(32), ShiftedViews(),
        )  # fmt: skip
