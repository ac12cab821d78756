"""Cells of volumes as the target, and back to voxels."""

import torch

from mimgen.methods.hiendmae.cells import cut
from mimgen.methods.hiendmae.target import VolumeTarget


def volumes():
    return torch.rand(2, 2, 8, 8, 8, generator=torch.Generator().manual_seed(0))


def test_cells_are_standardised_with_biased_variance():
    target = VolumeTarget((4, 4, 4), 2)
    goal = target(volumes())
    cells = cut(volumes(), (4, 4, 4))
    variance = cells.var(-1, keepdim=True, unbiased=False)
    torch.testing.assert_close(goal, (cells - cells.mean(-1, keepdim=True)) / (variance + 1e-6).sqrt())
    assert target.dim == goal.shape[-1] == 128
    assert torch.equal(target.loss(goal, goal + 2), torch.full((2, 8), 4.0))


def test_raw_undoes_it_and_the_release_does_nearly():
    target = VolumeTarget((4, 4, 4), 2)
    goal, cells = target(volumes()), cut(volumes(), (4, 4, 4))
    torch.testing.assert_close(target.raw(goal, volumes()), cells)
    shown = target.raw(goal, volumes(), unbiased=True)
    mean = cells.mean(-1, keepdim=True)
    # n / (n - 1) in the variance
    torch.testing.assert_close((shown - mean), (cells - mean) * (128 / 127) ** 0.5, atol=1e-4, rtol=1e-4)
