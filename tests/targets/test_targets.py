"""One contract for every target: a row for each patch, no gradient, a loss that falls towards the goal."""

import pytest
import torch
import torch.nn.functional as F

from mimgen.encoders.beit import BeitEncoder
from mimgen.errors import UserError
from mimgen.targets import CodeTarget, FeatureTarget, HogTarget, PixelTarget, Target
from mimgen.tokenizers import ConvTokenizer
from mimgen.tokenizers.centroids import CentroidTokenizer
from mimgen.tokenizers.contract import ImageQuantizer
from mimgen.tokenizers.vqkd.model import VqKd


def conv():
    return ConvTokenizer(channels=8, multipliers=(1,), blocks=1, stem=4, latent=6, quantizer="vq", codebook_size=32)


def vqkd():
    return VqKd(16, 4, 16, 1, 2, decoder_depth=1, codebook_size=32, code_dim=6, feature_dim=10, kmeans=False)


CODERS = {"conv": conv, "centroids": lambda: CentroidTokenizer(4, 32), "vqkd": vqkd}
TARGETS = {
    **{f"codes of {name}": lambda make=make: CodeTarget(make()) for name, make in CODERS.items()},
    "pixels": lambda: PixelTarget(4),
    "raw pixels": lambda: PixelTarget(4, normalise=False),
    "hog": lambda: HogTarget(4),
    "features": lambda: FeatureTarget(BeitEncoder(16, 4, 16, 1, 2)),
    "features of a coarser grid": lambda: FeatureTarget(BeitEncoder(16, 8, 16, 1, 2), patch=4),
}


def make_images(side=16):
    return torch.rand(3, 3, side, side, generator=torch.Generator().manual_seed(0))


@pytest.fixture(params=TARGETS)
def target(request):
    torch.manual_seed(0)
    return TARGETS[request.param]()


def test_contract(target):
    assert isinstance(target, Target)
    assert target.patch == 4
    goal = target.train()(make_images().requires_grad_())
    assert not goal.requires_grad
    assert goal.shape[:2] == (3, 16)
    torch.testing.assert_close(target(make_images()[1:]), goal[1:], atol=1e-5, rtol=1e-4)
    rows = goal.flatten(0, 1)
    if goal.ndim == 3:
        assert goal.shape[2] == target.dim
        right = rows
    else:
        assert goal.dtype == torch.int64
        right = 20.0 * F.one_hot(rows, target.dim)
    wrong = torch.randn(right.shape, generator=torch.Generator().manual_seed(1))
    assert target.loss(right, rows).shape == (48,)
    assert float(target.loss(right, rows).max()) < 1e-4
    assert float(target.loss(wrong, rows).mean()) > 0.1
    with pytest.raises(UserError):
        target(make_images(18))


@pytest.mark.parametrize("name", CODERS)
def test_any_tokenizer_is_a_target_and_stays_as_it_is(name):
    torch.manual_seed(0)
    coder = CODERS[name]()
    assert isinstance(coder, ImageQuantizer)
    expected = coder.eval().encode(make_images()).indices.flatten(1)
    before = {key: value.clone() for key, value in coder.state_dict().items()}
    module = CodeTarget(coder).train()
    assert torch.equal(module(make_images()), expected)
    assert all(torch.equal(value, before[key]) for key, value in coder.state_dict().items())
    assert not any(parameter.requires_grad for parameter in module.parameters())


def test_a_continuous_tokenizer_is_refused():
    class Continuous(torch.nn.Module):
        codebook_size, downsample = 0, 4

    with pytest.raises(UserError, match="codebook"):
        CodeTarget(Continuous())


def test_normalised_pixels_have_unbiased_unit_variance():
    rows = PixelTarget(4)(make_images())
    torch.testing.assert_close(rows.mean(-1), torch.zeros(3, 16), atol=1e-5, rtol=0)
    torch.testing.assert_close(rows.var(-1), torch.ones(3, 16), atol=1e-3, rtol=0)
    first = PixelTarget(4, normalise=False)(make_images())[0, 1]
    assert torch.equal(first, make_images()[0, :, :4, 4:8].flatten())


def test_hog_tells_directions_apart_and_flat_patches_by_colour():
    target = HogTarget(8)
    stripes = ((torch.arange(8) // 2) % 2).float()
    upright, level = stripes.expand(1, 3, 8, 8), stripes[:, None].expand(1, 3, 8, 8)
    edges = 4 * target.bins
    a, b = target(upright)[0, 0, :edges], target(level)[0, 0, :edges]
    assert float(F.cosine_similarity(a, b, dim=0)) < 0.3
    dark, light = (target(torch.full((1, 3, 8, 8), value))[0, 0] for value in (0.1, 0.9))
    assert float(F.cosine_similarity(dark, light, dim=0)) < -0.9
    with pytest.raises(UserError, match="even"):
        HogTarget(5)


def test_features_are_those_of_the_teacher():
    torch.manual_seed(0)
    teacher = BeitEncoder(16, 4, 16, 1, 2).eval()
    torch.testing.assert_close(FeatureTarget(teacher)(make_images()), teacher(make_images()).patches)
