"""Random crops of a batch, resized to one size: a second view of images that are already loaded."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def resized_crops(images: Tensor, uniform: Tensor, side: int, scale: tuple[float, float] = (0.08, 1.0)) -> Tensor:
    """One random crop per image, half of them mirrored (Inception crops).

    Area is uniform in `scale`, the aspect ratio log-uniform in 3/4 to 4/3; sampling is bilinear, so crops much
    larger than `side` alias.

    Args:
        images: [B, C, H, W].
        uniform: [B, 5] numbers in [0, 1): area, aspect, place across, place down, mirroring.
        side: of the result in pixels.
        scale: smallest and largest share of the image's area.

    Returns:
        [B, C, side, side].
    """
    area, aspect, across, down, mirror = uniform.to(images.device).unbind(1)
    area = scale[0] + (scale[1] - scale[0]) * area
    aspect = torch.exp(math.log(4 / 3) * (2 * aspect - 1))
    width, height = (area * aspect).sqrt().clamp(max=1), (area / aspect).sqrt().clamp(max=1)
    frame = images.new_zeros(len(images), 2, 3)
    frame[:, 0, 0] = torch.where(mirror < 0.5, -width, width)
    frame[:, 1, 1] = height
    frame[:, 0, 2] = (1 - width) * (2 * across - 1)
    frame[:, 1, 2] = (1 - height) * (2 * down - 1)
    grid = F.affine_grid(frame, [len(images), images.shape[1], side, side], align_corners=False)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)
