"""Spectra of a set of tokens: of space (Fourier) and of directions (singular values)."""

from __future__ import annotations

import torch
from torch import Tensor

from mimgen.errors import UserError

__all__ = ["relative_log_amplitude", "singular_values"]

_FLOOR = 1e-6  # as in the published notebooks, so that empty frequencies have a logarithm


def relative_log_amplitude(tokens: Tensor, grid: tuple[int, int]) -> Tensor:
    """Log amplitude of each spatial frequency over that of the mean (Park et al., ICLR 2023, section 3).

    log(|FFT2| + 1e-6) of the grid of tokens, mean over channels, along the diagonal from zero frequency on, less
    its first entry. Being a difference of means, the mean over images may be taken before or after.

    Args:
        tokens: [..., N, D] patch tokens without prefix, row by row.
        grid: rows and columns, equal.

    Returns:
        [..., h - h // 2] float64; entry k belongs to k / h cycles per token in both directions, entry 0 is 0.

    Raises:
        UserError: a grid that is not square or does not fit the tokens.
    """
    rows, columns = grid
    if rows != columns:
        raise UserError(
            f"the diagonal of the spectrum needs a square grid, not {rows} x {columns}: crop the images to squares"
        )
    if tokens.shape[-2] != rows * columns:
        raise UserError(f"{tokens.shape[-2]} tokens do not fit a grid of {rows} x {columns}: pass the tokens' own grid")
    plane = tokens.double().unflatten(-2, grid)
    amplitude = (torch.fft.fft2(plane, dim=(-3, -2)).abs() + _FLOOR).log().mean(-1)
    # the unshifted diagonal starts at zero frequency and reaches the negative ones halfway
    diagonal = amplitude.diagonal(dim1=-2, dim2=-1)[..., : rows - rows // 2]
    return diagonal - diagonal[..., :1]


def singular_values(points: Tensor) -> Tensor:
    """Singular values of centred points, largest first.

    Args:
        points: [..., n, D], n points of D numbers; their mean is taken off.

    Returns:
        [..., min(n, D)] float64; zero where points differ by rounding only.
    """
    points = points.double()
    centred = points - points.mean(-2, keepdim=True)
    wide = centred.shape[-2] <= centred.shape[-1]
    gram = centred @ centred.mT if wide else centred.mT @ centred
    values = torch.linalg.eigvalsh(gram).clamp(min=0).sqrt().flip(-1)
    # equal points leave rounding errors behind, which must not pass for directions
    noise = 1e-12 * points.flatten(-2).norm(dim=-1, keepdim=True)
    return torch.where(values > noise, values, 0.0)
