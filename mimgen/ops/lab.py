"""CIE Lab colour of sRGB images."""

from __future__ import annotations

import torch
from torch import Tensor

# IEC 61966-2-1: linear sRGB to XYZ, and the D65 white of the 2-degree observer.
_RGB_TO_XYZ = (
    (0.412453, 0.357580, 0.180423),
    (0.212671, 0.715160, 0.072169),
    (0.019334, 0.119193, 0.950227),
)
_WHITE = (0.95047, 1.0, 1.08883)
_KNEE = 6 / 29


def srgb_to_linear(images: Tensor) -> Tensor:
    """Undo the sRGB transfer curve; any shape, values in [0, 1], same shape back."""
    low = images / 12.92
    high = ((images.clamp(min=0.04045) + 0.055) / 1.055) ** 2.4
    return torch.where(images > 0.04045, high, low)


def rgb_to_lab(images: Tensor) -> Tensor:
    """sRGB to CIE L*a*b* under D65.

    L* = 116 f(Y/Yn) - 16, a* = 500 (f(X/Xn) - f(Y/Yn)), b* = 200 (f(Y/Yn) - f(Z/Zn)), with
    f(t) = t^(1/3) above (6/29)^3 and t / (3 (6/29)^2) + 4/29 below.

    Args:
        images: [B, 3, H, W] in [0, 1].

    Returns:
        [B, 3, H, W]; L* in [0, 100], a* and b* roughly in [-108, 108].
    """
    if images.dim() != 4 or images.shape[1] != 3:
        raise ValueError(f"rgb_to_lab wants images [B, 3, H, W], got {list(images.shape)}")
    matrix = images.new_tensor(_RGB_TO_XYZ)
    white = images.new_tensor(_WHITE)[:, None, None]
    xyz = torch.einsum("ij,bjhw->bihw", matrix, srgb_to_linear(images)) / white
    cube = xyz.clamp(min=_KNEE**3) ** (1 / 3)
    x, y, z = torch.where(xyz > _KNEE**3, cube, xyz / (3 * _KNEE**2) + 4 / 29).unbind(1)
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], dim=1)
