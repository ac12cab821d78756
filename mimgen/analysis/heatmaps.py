"""Images of what an encoder attends to: attention over the image, alike patches, tables as heat."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from mimgen.errors import UserError
from mimgen.ops.attention_maps import patch_attention

__all__ = ["alike", "attention_heatmap", "components", "heatmap", "heatmap_table", "overlay"]

# Dark to bright and from cool to warm, so that it reads without colour too.
_COLOUR_MAP = ((0.05, 0.03, 0.20), (0.45, 0.10, 0.45), (0.85, 0.30, 0.25), (0.98, 0.65, 0.15), (1.0, 1.0, 0.75))


def attention_heatmap(maps: Tensor, prefix: int) -> Tensor:
    """How much every patch is looked at.

    Args:
        maps: [..., T, T] attention, prefix tokens first.
        prefix: number of class or register tokens.

    Returns:
        [..., N] shares that sum to 1: the first prefix token's attention among the patches, or without prefix
        tokens the mean over all patches that look.
    """
    if not prefix:
        return patch_attention(maps, 0).mean(-2)
    row = maps[..., 0, prefix:].double()  # [..., N]: what the first prefix token looks at
    return row / row.sum(-1, keepdim=True).clamp(min=torch.finfo(row.dtype).tiny)


def alike(tokens: Tensor, position: int) -> Tensor:
    """Cosine of every patch [..., N, D] to the one at `position`: [..., N], negative ones as 0."""
    unit = F.normalize(tokens.double(), dim=-1)
    return (unit * unit[..., position : position + 1, :]).sum(-1).clamp(min=0)  # [..., N]


def heatmap(values: Tensor) -> Tensor:
    """Numbers [h, w] in [0, 1] as colours [3, h, w]; NaN is grey."""
    stops = torch.tensor(_COLOUR_MAP)
    position = values.float().nan_to_num(0).clamp(0, 1) * (len(stops) - 1)
    below = position.floor().long().clamp(max=len(stops) - 2)
    share = (position - below)[..., None]
    colours = stops[below] * (1 - share) + stops[below + 1] * share
    colours[values.isnan()] = 0.5
    return colours.movedim(-1, 0)  # [3, h, w]


def overlay(image: Tensor, values: Tensor, grid: tuple[int, int]) -> Tensor:
    """Weights of patches as heat over the greyed image.

    Args:
        image: [3, H, W] in [0, 1].
        values: [N] not negative; the largest becomes the brightest.
        grid: rows and columns, N = rows * columns.

    Returns:
        [3, H, W] in [0, 1]; each patch has one colour, so that no detail is claimed that was not measured.

    Raises:
        UserError: values that do not fit the grid.
    """
    if values.numel() != grid[0] * grid[1]:
        raise UserError(f"{values.numel()} values do not fit a grid of {grid[0]} x {grid[1]}")
    image, values = image.detach().float().cpu(), values.detach().float().cpu()
    plane = (values / values.amax().clamp(min=1e-12)).reshape(1, 1, *grid)  # [1, 1, h, w]
    colours = heatmap(F.interpolate(plane, image.shape[-2:], mode="nearest")[0, 0])
    grey = image.mean(0, keepdim=True)
    return (0.35 * grey + 0.65 * colours).clamp(0, 1)


def components(tokens: Tensor, grid: tuple[int, int], side: int) -> Tensor:
    """The three main directions of patch tokens as red, green and blue, common to all images.

    Args:
        tokens: [B, N, D].
        grid: rows and columns.
        side: height in pixels of the images.

    Returns:
        [B, 3, side, side * columns / rows] in [0, 1]; patches of one colour have alike tokens.
    """
    flat = tokens.detach().double().cpu().flatten(0, 1)  # [B N, D]
    flat = flat - flat.mean(0)
    directions = torch.linalg.eigh(flat.T @ flat).eigenvectors
    chosen = directions[:, -3:].flip(1)  # [D, 3]: eigh sorts ascending
    # the sign of an eigenvector is arbitrary: fixed, so that runs look the same
    chosen = chosen * chosen.gather(0, chosen.abs().argmax(0, keepdim=True)).sign()
    shares = flat @ F.pad(chosen, (0, 3 - chosen.shape[1]))
    # quantiles, since a few outlying tokens would take the contrast from all others
    low, high = shares.quantile(0.02, dim=0), shares.quantile(0.98, dim=0)
    scaled = ((shares - low) / (high - low).clamp(min=1e-12)).clamp(0, 1).float()
    plane = scaled.unflatten(0, (len(tokens), *grid)).permute(0, 3, 1, 2)  # [B, 3, h, w]
    return F.interpolate(plane, (side, side * grid[1] // grid[0]), mode="nearest")


def heatmap_table(table: Tensor, cell: int = 18) -> Tensor:
    """A table [L, M] of numbers in [0, 1] as an image [3, L * cell, M * cell], first row on top."""
    return heatmap(table.float()).repeat_interleave(cell, 1).repeat_interleave(cell, 2)
