"""iTPN learns on pixels and on features; what is scored, and where the neck gets its gradient."""

import pytest
import torch
import torch.nn.functional as F

from mimgen import configs
from mimgen.decoders.pyramid import FeatureHeads, PyramidDecoder
from mimgen.encoders.hivit import HiVitEncoder
from mimgen.encoders.plain import HogEncoder
from mimgen.errors import UserError
from mimgen.masking.block import Block
from mimgen.masking.random import Random
from mimgen.methods.itpn.objective import ITPN, ITPNDistillation
from mimgen.methods.itpn.target import StandardisedFeatures
from mimgen.targets import PixelTarget
from mimgen.types import Batch, SampleRNG

SIZES = {"image_size": 16, "patch": 4, "width": 32, "mlp_depths": (1, 1), "depth": 2, "heads": 2, "neck_width": 16}


def make_images(count=8):
    generator = torch.Generator().manual_seed(0)
    return torch.rand(count, 3, 4, 4, generator=generator).repeat_interleave(4, 2).repeat_interleave(4, 3)


def batch(step=0, count=8):
    return Batch(make_images(count), ("",) * count, ("",) * count, SampleRNG.for_rows(0, step, range(count)))


def on_pixels():
    torch.manual_seed(0)
    decoder = PyramidDecoder(16, 4, 16, 32, 1, 2)
    return ITPN(HiVitEncoder(**SIZES), decoder, PixelTarget(4, normalise=False, last=True), Random())


def on_features(**options):
    torch.manual_seed(0)
    target = StandardisedFeatures(HogEncoder(16, 4))
    encoder = HiVitEncoder(**SIZES, mask_token=True, relative=True, layer_scale=0.1)
    heads = FeatureHeads(16, 4, 16, 32, 2, target.dim)
    return ITPNDistillation(encoder, heads, target, Block(6, 2), **options)


@pytest.mark.parametrize(("kind", "share"), [(on_pixels, 0.8), (on_features, 0.8)])
def test_it_learns_and_the_whole_neck_with_it(kind, share):
    trained = kind().train()
    optimiser = torch.optim.AdamW((p for p in trained.parameters() if p.requires_grad), 8e-3)
    history = []
    for step in range(25):
        losses = trained(batch(step))
        optimiser.zero_grad()
        losses.total.backward()
        optimiser.step()
        history.append(float(losses.total.detach()))
    assert sum(history[-5:]) < share * sum(history[:5])
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in trained.encoder.neck.parameters())


def test_features_of_all_patches_are_scored_unless_asked_otherwise():
    module, images = on_features().eval(), make_images(2)
    mask, goal = module.masking((4, 4), SampleRNG([0, 1])), module.target(make_images(2))
    output = module.heads(module.encoder.pyramid(images, mask, layers=(module.layer,)))
    found = module(Batch(images), mask)
    torch.testing.assert_close(found.terms["features"], F.smooth_l1_loss(output.main, goal))
    torch.testing.assert_close(found.terms["auxiliary"], F.smooth_l1_loss(output.auxiliary, goal))
    torch.testing.assert_close(found.total, sum(found.terms.values()))
    module.masked_only, masked = True, mask.masked
    part = module(Batch(images), mask).terms["features"]
    torch.testing.assert_close(part, F.smooth_l1_loss(output.main[masked], goal[masked]))


def test_the_auxiliary_head_reads_three_quarters_of_the_way():
    module = on_features()
    # 4 parts of the stem, then 2 blocks with attention: int(0.75 * 2) is the second of them
    assert module.layer == module.encoder.stem + 1 == 5


def test_parts_that_do_not_fit_are_named():
    target = StandardisedFeatures(HogEncoder(16, 4))
    heads = FeatureHeads(16, 4, 16, 32, 2, target.dim)
    with pytest.raises(UserError, match="mask_token=True"):
        ITPNDistillation(HiVitEncoder(**SIZES), heads, target)
    shown = HiVitEncoder(**SIZES, mask_token=True)
    with pytest.raises(UserError, match="build them alike"):
        ITPNDistillation(shown, FeatureHeads(16, 4, 16, 32, 2, 7), target)
    with pytest.raises(UserError, match=r"early=1\.5"):
        ITPNDistillation(shown, heads, target, early=1.5)


def test_the_config_builds_either_variant():
    assert isinstance(configs.experiment("itpn")(size="tiny").build(), ITPN)
    featured = configs.experiment("itpn")(size="tiny", target="hog")
    assert featured.options == {"target": "hog"}
    built = featured.build()
    assert isinstance(built, ITPNDistillation) and built.encoder.mask_token is not None
    # 75 of 196 patches, in proportion
    assert built.masking.count == 6
