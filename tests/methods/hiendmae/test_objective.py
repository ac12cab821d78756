"""Hi-End-MAE learns on volumes and on images; what is scored; parts that do not fit."""

import pytest
import torch

from mimgen.errors import UserError
from mimgen.masking.random import Random
from mimgen.methods.hiendmae.decoder import HierarchicalDecoder
from mimgen.methods.hiendmae.encoder import VolumeVit
from mimgen.methods.hiendmae.objective import HiEndMAE
from mimgen.methods.hiendmae.target import VolumeTarget
from mimgen.types import Batch, SampleRNG

TAPS = (2, 1, 0)


def objective(axes):
    torch.manual_seed(0)
    channels, cell = (1, (2, 2, 2)) if axes == 3 else (3, (4, 4))
    encoder = VolumeVit((8,) * axes if axes == 3 else (16, 16), cell, 24, 3, 2, channels=channels)
    target = VolumeTarget(cell, channels)
    return HiEndMAE(encoder, HierarchicalDecoder(encoder.cells, 24, target.dim, TAPS, 24, 1, 2), target)


def volumes(axes, count=8):
    """Smooth volumes: waves of a random direction."""
    rng = torch.Generator().manual_seed(0)
    sides = (8,) * 3 if axes == 3 else (16, 16)
    positions = torch.stack(torch.meshgrid(*(torch.linspace(0, 3, side) for side in sides), indexing="ij"), -1)
    waves = (positions @ torch.rand(axes, count, generator=rng)).movedim(-1, 0).sin()
    return waves[:, None].expand(-1, 1 if axes == 3 else 3, *sides).contiguous()


def batch(axes, step=0, count=8):
    return Batch(volumes(axes, count), ("",) * count, ("",) * count, SampleRNG.for_rows(0, step, range(count)))


@pytest.mark.parametrize("axes", [2, 3])
def test_it_learns(axes):
    trained = objective(axes).train()
    optimiser = torch.optim.AdamW((p for p in trained.parameters() if p.requires_grad), 5e-3)
    history = []
    for step in range(25):
        losses = trained(batch(axes, step))
        optimiser.zero_grad()
        losses.total.backward()
        optimiser.step()
        history.append(float(losses.total.detach()))
    assert sum(history[-5:]) < 0.7 * sum(history[:5])


@pytest.mark.parametrize("axes", [2, 3])
def test_the_loss_is_a_mean_over_hidden_cells(axes):
    module, x = objective(axes).eval(), volumes(axes, 2)
    mask = module.mask(Batch(x, rng=SampleRNG([1, 2])))
    cells = torch.Size(module.cells).numel()
    assert mask.masked.shape == (2, cells) and mask.masked.sum(1).tolist() == [cells * 3 // 4] * 2
    difference = (module.predict(Batch(x), mask) - module.target(x))[mask.masked]
    torch.testing.assert_close(module(Batch(x), mask).total, difference.square().mean())


def test_parts_that_do_not_fit_are_named():
    encoder, target = VolumeVit((8, 8, 8), 2, 24, 3, 2), VolumeTarget((2, 2, 2))
    with pytest.raises(UserError, match="build them alike"):
        HiEndMAE(encoder, HierarchicalDecoder((2, 2, 2), 24, 8, TAPS, 12, 1, 2), target)
    with pytest.raises(UserError, match="taps"):
        HiEndMAE(encoder, HierarchicalDecoder((4, 4, 4), 24, 8, (9, 6, 3), 12, 1, 2), target, Random())
    with pytest.raises(UserError, match="build both for the same patch"):
        HiEndMAE(encoder, HierarchicalDecoder((4, 4, 4), 24, 9, TAPS, 12, 1, 2), target)
