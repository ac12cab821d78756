"""ROPIM: its projection is one, its loss does not see what was retained, and masks are a special case."""

import pytest
import torch

from mimgen.decoders.mae import LinearDecoder
from mimgen.encoders.beit import BeitEncoder
from mimgen.errors import UserError
from mimgen.methods.ropim import ROPIM, CountSketch, ProjectionMask, projection_of
from mimgen.targets import PixelTarget
from mimgen.types import Batch, Mask, SampleRNG

SKETCH = CountSketch(1 / 4)


def make_images(count=4):
    generator = torch.Generator().manual_seed(0)
    return torch.rand(count, 3, 4, 4, generator=generator).repeat_interleave(4, 2).repeat_interleave(4, 3)


def batch(step=0):
    return Batch(make_images(), rng=SampleRNG.for_rows(0, step, range(4)))


def objective(**options):
    torch.manual_seed(0)
    encoder = BeitEncoder(16, 4, 32, 1, 2, absolute=False, relative="shared")
    target = PixelTarget(4, normalise=False, distance="absolute")
    return ROPIM(encoder, LinearDecoder(32, 4, 4), target, SKETCH, **options)


@pytest.mark.parametrize(("ratio", "grid"), [(1 / 7, (14, 14)), (1 / 4, (4, 4)), (1 / 2, (4, 6))])
def test_p_is_an_orthogonal_projection_of_rank_k(ratio, grid):
    tokens = grid[0] * grid[1]
    p = CountSketch(ratio)(grid, SampleRNG([1, 2])).projection
    count = round(ratio * tokens)
    torch.testing.assert_close(p, p.transpose(1, 2))
    torch.testing.assert_close(p @ p, p, atol=1e-6, rtol=0)
    assert torch.linalg.matrix_rank(p).tolist() == [count, count]
    torch.testing.assert_close(p.diagonal(dim1=1, dim2=2), torch.full((2, tokens), count / tokens))
    torch.testing.assert_close(p @ (torch.eye(tokens) - p), torch.zeros_like(p), atol=1e-6, rtol=0)
    assert not torch.equal(p[0], p[1])


def test_half_of_the_signs_are_negative_and_buckets_are_even():
    p = SKETCH((4, 4), SampleRNG(range(3))).projection
    assert ((p != 0).sum(-1) == 4).all()  # 16 tokens in 4 buckets
    swapped = CountSketch(1 / 4, swapped=True)((4, 4), SampleRNG(range(3))).projection
    torch.testing.assert_close(p + swapped, torch.eye(16).expand(3, -1, -1))


def test_the_released_ratio_is_not_quite_a_projection():
    p = CountSketch(0.14, scale=0.14)((14, 14), SampleRNG([0])).projection
    assert float((p @ p - p).abs().max()) == pytest.approx(0.0028, abs=1e-4)


def test_the_sketch_is_unbiased_with_the_variance_of_its_buckets():
    """The mean of S S^T x is x but for a bias of order 1 / N; its variance per token is about (N / K - 1) mean x^2."""
    x = torch.randn(16, generator=torch.Generator().manual_seed(1))
    p = CountSketch(1 / 4, scale=1.0)((4, 4), SampleRNG(range(4000))).projection
    estimates = p @ x  # [draws, N]
    assert float((estimates.mean(0) - x).abs().max()) < 3 * 3 / 15 * float(x.abs().max())
    assert float(estimates.var(0).mean()) == pytest.approx(3 * float(x.square().mean()), rel=0.15)


def test_the_retained_subspace_is_not_supervised():
    module, mask = objective().eval(), objective().mask(batch())
    predicted = module.predict(batch(), mask)
    base = module(batch(), mask).total
    anything = torch.randn(predicted.shape, generator=torch.Generator().manual_seed(2))
    module.predict = lambda *_: predicted + mask.projection @ anything
    torch.testing.assert_close(module(batch(), mask).total, base)
    module.predict = lambda *_: predicted + anything
    assert not torch.allclose(module(batch(), mask).total, base)


def test_a_binary_mask_is_the_diagonal_case():
    """With P = diag(visible) the loss is the absolute error of masked patches, divided by all instead of by them."""
    module = objective(mixed=False).eval()
    masked = torch.zeros(4, 16, dtype=torch.bool)
    masked[:, ::2] = True
    mask = Mask(masked)
    error = (module.target(make_images()) - module.predict(batch(), mask)).abs().mean(-1)
    torch.testing.assert_close(module(batch(), mask).total, error[masked].mean() * masked.float().mean())
    assert torch.equal(projection_of(mask), torch.diag_embed((~masked).float()))


def test_spaces_differ_and_it_learns():
    losses = [float(objective(space=space)(batch()).total.detach()) for space in ("complement", "all", "retained")]
    assert len({round(value, 6) for value in losses}) == 3
    trained, history = objective().train(), []
    optimiser = torch.optim.AdamW(trained.parameters(), 3e-3)
    for step in range(40):
        loss = trained(batch(step)).total
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        history.append(float(loss.detach()))
    assert sum(history[-5:]) < 0.8 * sum(history[:5])


def test_the_encoder_mixes_patches_before_positions():
    encoder = objective().encoder.eval()
    images = make_images(2)
    same = torch.eye(16).expand(2, -1, -1)
    assert torch.equal(encoder(images, mix=same).patches, encoder(images).patches)
    mask = SKETCH((4, 4), SampleRNG([0, 1])).to("cpu")
    assert isinstance(mask, ProjectionMask)
    assert not torch.allclose(encoder(images, mix=mask.projection).patches, encoder(images).patches)


def test_mistakes_are_named():
    with pytest.raises(UserError, match="take ratio 4/16"):
        CountSketch(0.3)((4, 4), SampleRNG([0]))
    with pytest.raises(UserError, match="above 0 and below 1"):
        CountSketch(1.0)((4, 4), SampleRNG([0]))
    with pytest.raises(UserError, match="space"):
        objective(space="everything")
    with pytest.raises(UserError, match="same patch"):
        ROPIM(objective().encoder, LinearDecoder(32, 8, 8), PixelTarget(4, normalise=False))
