"""Histograms of oriented gradients (Dalal and Triggs, CVPR 2005)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

_EPSILON = 1e-5
_CLIP = 0.2


def gradients(images: Tensor) -> tuple[Tensor, Tensor]:
    """Magnitude and unsigned direction of the strongest channel's gradient.

    Central differences [-1, 0, 1]; the outermost row and column have none.

    Args:
        images: [B, C, H, W].

    Returns:
        magnitude [B, H, W] and direction [B, H, W] in [0, pi).
    """
    down = F.pad(images[:, :, 2:] - images[:, :, :-2], (0, 0, 1, 1))
    right = F.pad(images[:, :, :, 2:] - images[:, :, :, :-2], (1, 1, 0, 0))
    strength, channel = torch.hypot(down, right).max(dim=1, keepdim=True)
    angle = torch.atan2(down.gather(1, channel), right.gather(1, channel))
    # remainder of a tiny negative angle rounds to pi itself, which is direction 0
    angle = torch.remainder(angle, math.pi)
    return strength[:, 0], torch.where(angle >= math.pi, 0.0, angle)[:, 0]


def hog_cells(images: Tensor, *, cell: int = 8, bins: int = 9) -> Tensor:
    """Gradient histograms of the cells, not normalised.

    Each pixel votes with its gradient magnitude for the one bin its direction falls in; a bin
    holds the mean vote over the cell.

    Args:
        images: [B, C, H, W]; H and W divisible by `cell`.
        cell: side of a cell in pixels.
        bins: number of unsigned directions over 180 degrees.

    Returns:
        [B, bins, H / cell, W / cell].
    """
    if images.shape[-1] % cell or images.shape[-2] % cell:
        raise ValueError(f"hog wants sides divisible by the cell of {cell} px, got {list(images.shape)}")
    strength, angle = gradients(images)
    index = (angle * (bins / math.pi)).long().clamp(max=bins - 1)
    votes = strength.new_zeros(len(images), bins, *strength.shape[1:])
    votes.scatter_(1, index[:, None], strength[:, None])
    return F.avg_pool2d(votes, cell)


def hog(images: Tensor, *, cell: int = 8, bins: int = 9, block: int = 2) -> Tensor:
    """Block-normalised HOG; every block of cells is one overlapping L2-Hys vector.

    L2-Hys: v / sqrt(|v|^2 + eps^2), clipped at 0.2, normalised again.

    Args:
        images: [B, C, H, W] in [0, 1]; H and W divisible by `cell`.
        cell: side of a cell in pixels.
        bins: number of unsigned directions.
        block: side of a block in cells; blocks move by one cell.

    Returns:
        [B, (H/cell - block + 1), (W/cell - block + 1), block * block * bins], the last axis
        ordered by row in block, column in block, direction.
    """
    histograms = hog_cells(images, cell=cell, bins=bins)
    blocks = histograms.unfold(2, block, 1).unfold(3, block, 1)
    vectors = blocks.permute(0, 2, 3, 4, 5, 1).flatten(3)
    return _unit(_unit(vectors).clamp(max=_CLIP))


def _unit(vectors: Tensor) -> Tensor:
    return vectors / (vectors.square().sum(-1, keepdim=True) + _EPSILON**2).sqrt()


def channel_cells(images: Tensor, *, cell: int = 8, bins: int = 9) -> Tensor:
    """`hog_cells` of every channel by itself.

    Args:
        images: [B, C, H, W]; H and W divisible by `cell`.
        cell: side of a cell in pixels.
        bins: number of unsigned directions.

    Returns:
        [B, C, bins, H / cell, W / cell].
    """
    alone = hog_cells(images.flatten(0, 1)[:, None], cell=cell, bins=bins)
    return alone.unflatten(0, images.shape[:2])


def sobel(images: Tensor) -> tuple[Tensor, Tensor]:
    """Differences of a Sobel filter, left minus right and top minus bottom; the border is mirrored.

    They are taken so that a mirrored difference is exactly 0, whatever the order of the sum: a tiny remainder
    would turn the direction of a border pixel.

    Args:
        images: [B, C, H, W], at least 2 pixels per side.

    Returns:
        across and down, each [B, C, H, W].
    """
    padded = F.pad(images, (1, 1, 1, 1), mode="reflect")
    columns = padded[:, :, :-2] + 2 * padded[:, :, 1:-1] + padded[:, :, 2:]
    rows = padded[..., :-2] + 2 * padded[..., 1:-1] + padded[..., 2:]
    return columns[..., :-2] - columns[..., 2:], rows[:, :, :-2] - rows[:, :, 2:]


def sobel_histograms(
    images: Tensor,
    *,
    cell: int = 8,
    bins: int = 9,
    offset: Tensor | None = None,
    weights: Tensor | None = None,
    normalise: bool = True,
) -> Tensor:
    """Gradient histograms of the cells of every channel, by a Sobel filter (MaskFeat, section 3; LocalMIM).

    Each pixel votes with its gradient magnitude for the one unsigned direction that it falls in, without
    interpolation; a bin holds the mean vote over the cell.

    Args:
        images: [B, C, H, W]; H and W divisible by `cell`.
        cell: side of a cell in pixels.
        bins: number of unsigned directions over 180 degrees.
        offset: [2], added to the differences across and down; LocalMIM's large model has one at random.
        weights: [H, W] by which votes count, such as a Gaussian window repeated over the image.
        normalise: divide the bins of each cell and channel by their L2 norm; a flat cell stays 0.

    Returns:
        [B, C, bins, H / cell, W / cell].
    """
    if images.shape[-1] % cell or images.shape[-2] % cell:
        raise ValueError(f"hog wants sides divisible by the cell of {cell} px, got {list(images.shape)}")
    across, down = sobel(images)
    if offset is not None:
        across, down = across + offset[0], down + offset[1]
    index = (torch.atan2(across, down) / math.pi * bins).floor().long() % bins
    strength = torch.hypot(across, down)
    if weights is not None:
        strength = strength * weights.to(strength)
    votes = across.new_zeros(*across.shape[:2], bins, *across.shape[2:])
    votes.scatter_(2, index[:, :, None], strength[:, :, None])
    means = F.avg_pool2d(votes.flatten(1, 2), cell).unflatten(1, votes.shape[1:3])
    return F.normalize(means, dim=2) if normalise else means
