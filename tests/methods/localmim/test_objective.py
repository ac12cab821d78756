"""LocalMIM: it learns, each tap trains the blocks below it, cells weigh by their masked share."""

import pytest
import torch

from mimgen.encoders.taps import tap
from mimgen.encoders.vit import mae_vit
from mimgen.errors import UserError
from mimgen.masking.random import Random
from mimgen.methods.localmim.decoders import SCALES, LocalDecoder
from mimgen.methods.localmim.objective import LocalMIM
from mimgen.methods.localmim.target import SobelTarget
from mimgen.targets import PixelTarget
from mimgen.types import Batch, Mask, SampleRNG

SIZES = {"image_size": 16, "patch": 4, "width": 32, "depth": 4, "heads": 2}
TAPS = (0, 1, 2, 3)


def make_images(count=8):
    generator = torch.Generator().manual_seed(0)
    return torch.rand(count, 3, 8, 8, generator=generator).repeat_interleave(2, 2).repeat_interleave(2, 3)


def batch(step=0, count=8):
    return Batch(make_images(count), ("",) * count, ("",) * count, SampleRNG.for_rows(0, step, range(count)))


def objective(kind=SobelTarget, taps=TAPS, scales=SCALES):
    torch.manual_seed(0)
    targets = [kind(round(4 / scale)) for scale in scales]
    decoders = [
        LocalDecoder(16, 4, 32, 16, 1, 2, target.dim, scale) for target, scale in zip(targets, scales, strict=True)
    ]
    return LocalMIM(mae_vit(**SIZES), decoders, targets, taps, Random())


@pytest.mark.parametrize("kind", [SobelTarget, PixelTarget])
def test_all_layers_learn(kind):
    trained = objective(kind).train()
    optimiser = torch.optim.AdamW((p for p in trained.parameters() if p.requires_grad), 3e-3)
    history = []
    for step in range(20):
        losses = trained(batch(step))
        optimiser.zero_grad()
        losses.total.backward()
        optimiser.step()
        history.append(float(losses.total.detach()))
    assert set(losses.terms) == {"layer_0", "layer_1", "layer_2", "layer_3"}
    assert sum(history[-5:]) < 0.96 * sum(history[:5])


@pytest.mark.parametrize("block", TAPS)
def test_a_tap_trains_the_blocks_below_it_and_no_other(block):
    module = objective().train()
    module(batch()).terms[f"layer_{block}"].backward()
    trained = [layer.mlp.fc2.weight.grad is not None for layer in module.encoder.blocks]
    assert trained == [number <= block for number in range(4)]
    assert module.encoder.patch_embed.proj.weight.grad.abs().sum() > 0
    assert all(
        (one.cells[-1].weight.grad is not None) == (position == block)
        for position, one in enumerate(module.decoders)
    )


def test_the_loss_is_the_paper_s_and_partly_hidden_cells_weigh_by_their_share():
    module, images = objective().eval(), make_images(2)
    mask = Random(0.5)((4, 4), SampleRNG([0, 1]))
    terms = module(Batch(images), mask).terms
    for position, tokens in enumerate(tap(module.encoder, images, mask, TAPS)):
        error = (module.decoders[position](tokens, mask) - module.targets[position](images)).square().mean(-1)
        side = round(4 * SCALES[position])
        weight = torch.nn.functional.interpolate(mask.masked.float().view(2, 1, 4, 4), (side, side), mode="area")
        expected = (weight.flatten(1) * error).sum() / weight.sum()
        torch.testing.assert_close(terms[f"layer_{position}"], expected)
    one = Mask(torch.arange(16)[None] == 0)
    coarse = module(Batch(images[:1]), one).terms["layer_3"]
    (_, _, _, tokens) = tap(module.encoder, images[:1], one, TAPS)
    alone = (module.decoders[3](tokens, one) - module.targets[3](images[:1])).square().mean(-1)[0, 0]
    torch.testing.assert_close(coarse, alone)


def test_hidden_pixels_are_not_seen_and_the_encoder_works_alone():
    module, images = objective().eval(), make_images(1)
    mask = Random()((4, 4), SampleRNG([3]))
    other = images.clone()
    row, column = 4 * (int(mask.drop[0, 0]) // 4), 4 * (int(mask.drop[0, 0]) % 4)
    other[:, :, row : row + 4, column : column + 4] = 0.5
    for one, two in zip(tap(module.encoder, images, mask, TAPS), tap(module.encoder, other, mask, TAPS), strict=True):
        assert torch.equal(one.patches, two.patches)
    assert module.encoder(images, layers=TAPS).patches.shape == (1, 16, 32)


def test_taps_may_be_fewer_and_share_a_scale():
    single = objective(taps=(1, 3), scales=(1, 1))
    assert set(single(batch()).terms) == {"layer_1", "layer_3"}


def test_what_does_not_fit_is_named():
    with pytest.raises(UserError, match="1 taps, 4 decoders, 4 targets"):
        objective(taps=(3,))
    encoder, decoder = mae_vit(**SIZES), LocalDecoder(16, 4, 32, 16, 1, 2, 27, 2)
    with pytest.raises(UserError, match="the cells have 2"):
        LocalMIM(encoder, [decoder], [SobelTarget(4)], (3,))
    with pytest.raises(UserError, match="blocks of 0 to 3"):
        LocalMIM(encoder, [decoder], [SobelTarget(2)], (4,))
