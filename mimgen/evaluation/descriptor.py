"""A fixed image descriptor without a model: where the colours are, and which way edges run."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from mimgen.errors import UserError
from mimgen.ops.hog import hog
from mimgen.ops.lab import rgb_to_lab

DESCRIPTOR = "lab16-hog8-v1"
SIDE = 64
_COLOUR_GRID = 16
_CHUNK = 256


def to_side(images: Tensor, side: int = SIDE) -> Tensor:
    """[B, 3, H, W] -> [B, 3, side, side] by antialiased bilinear resizing; unchanged if it fits."""
    if images.shape[-2:] == (side, side):
        return images
    return F.interpolate(images, (side, side), mode="bilinear", antialias=True, align_corners=False)


def check_images(images: Tensor, what: str) -> None:
    """Raise UserError unless `images` is [n, 3, H, W] floating point, finite, and in [0, 1]."""
    if images.dim() != 4 or images.shape[1] != 3 or not images.is_floating_point():
        raise UserError(f"{what}: want float images [n, 3, H, W], got {images.dtype} {list(images.shape)}")
    if not len(images):
        raise UserError(f"{what}: there are no images; check the split or the prompts")
    if not bool(torch.isfinite(images).all()):
        raise UserError(f"{what}: some pixels are NaN or infinite; the model that made them has diverged")
    if images.min() < -1e-3 or images.max() > 1 + 1e-3:
        low, high = float(images.min()), float(images.max())
        raise UserError(
            f"{what}: pixels must lie in [0, 1], got [{low:.3g}, {high:.3g}]; rescale or clamp them"
        )


@torch.no_grad()
def describe(images: Tensor) -> Tensor:
    """Describe images by a colour half and a shape half, each of length 1.

    Colour: means of CIE L*a*b* over a 16 x 16 grid, measured from white (L* - 100, a*, b*), so a
    white background weighs nothing. Shape: HOG with 8 x 8-pixel cells, 9 unsigned directions and
    2 x 2-cell blocks. Images of another size are first resized to 64 px.

    Args:
        images: [n, 3, S, S] in [0, 1].

    Returns:
        [n, 2532] float32 on the CPU; squared distances are 4 - 2 x.y, between 0 and 8.
    """
    check_images(images, "describe")
    return torch.cat([_describe(part.float().cpu().clamp(0, 1)) for part in images.split(_CHUNK)])


def _describe(images: Tensor) -> Tensor:
    images = to_side(images).clamp(0, 1)
    lab = F.avg_pool2d(rgb_to_lab(images), SIDE // _COLOUR_GRID)
    colour = (lab - lab.new_tensor([100.0, 0.0, 0.0])[:, None, None]).flatten(1)
    return torch.cat([F.normalize(colour), F.normalize(hog(images).flatten(1))], dim=1)
