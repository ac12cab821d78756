"""Spectra against closed forms and an independent computation."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from mimgen.errors import UserError
from mimgen.ops.spectrum import relative_log_amplitude, singular_values


def tokens_of(plane: Tensor) -> Tensor:
    """[h, w] -> [1, N, 1]."""
    return plane.reshape(1, -1, 1)


def test_a_constant_has_only_its_mean() -> None:
    side = 6
    spectrum = relative_log_amplitude(torch.full((2, side * side, 3), 2.0), (side, side))
    mean = math.log(2.0 * side * side + 1e-6)
    assert spectrum.shape == (2, 3)
    assert spectrum[0].tolist() == pytest.approx([0, math.log(1e-6) - mean, math.log(1e-6) - mean], abs=1e-6)


def test_a_diagonal_wave_is_found_at_its_frequency() -> None:
    side, positions = 8, torch.arange(8, dtype=torch.float64)
    phase = positions[:, None] + positions
    plane = 1 + 0.5 * torch.cos(2 * math.pi * 3 * phase / side)
    spectrum = relative_log_amplitude(tokens_of(plane), (side, side))[0]
    # a mean of 1 and a cosine of 0.5, half of whose amplitude lies at 3 and half at -3
    assert float(spectrum[3]) == pytest.approx(math.log(0.25), abs=1e-5)
    assert float(spectrum[[1, 2]].max()) < -10


@pytest.mark.parametrize("side", [4, 5])
def test_the_shifted_diagonal_of_numpy_agrees(side: int) -> None:
    tokens = torch.randn(3, side * side, 2, generator=torch.Generator().manual_seed(1))
    plane = tokens.numpy().reshape(3, side, side, 2)
    logs = np.log(np.abs(np.fft.fft2(plane, axes=(1, 2))) + 1e-6)
    shifted = np.fft.fftshift(logs, axes=(1, 2)).mean(-1)
    diagonal = np.stack([np.diag(one) for one in shifted])[:, side // 2 :]
    expected = torch.from_numpy(diagonal - diagonal[:, :1]).double()
    assert torch.allclose(relative_log_amplitude(tokens, (side, side)), expected, atol=1e-5)


def test_the_grid_must_be_square_and_fit() -> None:
    with pytest.raises(UserError, match="square grid"):
        relative_log_amplitude(torch.rand(1, 6, 2), (2, 3))
    with pytest.raises(UserError, match="do not fit"):
        relative_log_amplitude(torch.rand(1, 10, 2), (3, 3))


@pytest.mark.parametrize("shape", [(2, 5, 9), (2, 9, 5)])
def test_singular_values_are_those_of_the_centred_points(shape: tuple[int, ...]) -> None:
    points = torch.randn(shape, generator=torch.Generator().manual_seed(2)).double() + 3
    expected = torch.linalg.svdvals(points - points.mean(1, keepdim=True))
    assert torch.allclose(singular_values(points), expected, atol=1e-6)


def test_equal_points_spread_in_no_direction() -> None:
    assert not singular_values(torch.rand(7, generator=torch.Generator().manual_seed(0)).expand(11, 7)).any()
