"""Encoders without weights: pixels and gradient histograms as features."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from mimgen.errors import UserError
from mimgen.layers.patch_embed import image_grid
from mimgen.ops.hog import hog, hog_cells
from mimgen.types import Tokens


class PixelEncoder:
    """Pixels as features.

    Args:
        pixels: side of the images.
        patch: side of a patch, whose pixels are a token; None for one token that holds the whole image,
            reduced to `side` x `side` by antialiased bilinear.
        side: of the reduced image.

    Attributes:
        dim: 3 patch^2, or 3 side^2.
        depth: 0, there is an output only.
        patch: pixels per side of a token.

    Raises:
        UserError: a patch that does not divide the images.
    """

    depth = 0

    def __init__(self, pixels: int, patch: int | None = None, side: int = 16) -> None:
        _check_patch(pixels, patch, 1)
        self.pixels, self.patch, self.side = pixels, patch or pixels, side
        self.single_patch = patch is None
        self.dim = 3 * (side if patch is None else patch) ** 2

    def __call__(self, images: Tensor, /, *, layers: Sequence[int] = ()) -> Tokens:
        """[B, 3, H, W] in [0, 1] to one token [B, 1, 3 side^2], or patches [B, N, 3 patch^2]."""
        _check(images, layers, self.patch, self.pixels if self.single_patch else None)
        if self.single_patch:
            size = (self.side, self.side)
            small = F.interpolate(images.float(), size, mode="bilinear", antialias=True, align_corners=False)
            return _tokens(small.flatten(1)[:, None], (1, 1))
        plane = F.pixel_unshuffle(images.float(), self.patch)  # [B, 3 patch^2, h, w]
        return _tokens(plane.flatten(2).transpose(1, 2), (plane.shape[2], plane.shape[3]))


class HogEncoder:
    """Histograms of oriented gradients as features (Dalal and Triggs, CVPR 2005).

    Args:
        pixels: side of the images.
        patch: side of a patch, even, whose four quarters' histograms are a token of unit length; None for one
            token that holds the whole image's block-normalised histograms, of 8 x 8 cells.
        bins: unsigned directions of a histogram.

    Attributes:
        dim: 4 bins, or 7 * 7 * 4 bins.
        depth: 0, there is an output only.
        patch: pixels per side of a token.

    Raises:
        UserError: a patch that is odd or does not divide the images, or images not divisible by 8.
    """

    depth = 0

    def __init__(self, pixels: int, patch: int | None = None, bins: int = 9) -> None:
        if patch is None and pixels % 8:
            raise UserError(f"HOG of whole images has 8 x 8 cells, which {pixels} pixels do not divide into")
        _check_patch(pixels, patch, 2)
        self.pixels, self.patch, self.bins = pixels, patch or pixels, bins
        self.single_patch = patch is None
        self.dim = 4 * bins * (7 * 7 if patch is None else 1)

    def __call__(self, images: Tensor, /, *, layers: Sequence[int] = ()) -> Tokens:
        """[B, 3, H, W] in [0, 1] to one token [B, 1, 196 bins], or patches [B, N, 4 bins]."""
        _check(images, layers, self.patch, self.pixels if self.single_patch else None)
        if self.single_patch:
            return _tokens(hog(images.float(), cell=self.pixels // 8, bins=self.bins).flatten(1)[:, None], (1, 1))
        plane = F.pixel_unshuffle(hog_cells(images.float(), cell=self.patch // 2, bins=self.bins), 2)
        patches = F.normalize(plane.flatten(2).transpose(1, 2), dim=2, eps=1e-2)  # flat patches stay near 0
        return _tokens(patches, (plane.shape[2], plane.shape[3]))


def _tokens(patches: Tensor, grid: tuple[int, int]) -> Tokens:
    return Tokens(patches, grid, patches[:, :0])


def _check_patch(pixels: int, patch: int | None, multiple: int) -> None:
    if pixels < 1 or (patch is not None and (patch < 1 or patch % multiple or pixels % patch)):
        even = "even and " if multiple == 2 else ""
        raise UserError(f"a patch of {patch} pixels must be {even}a divisor of the images' {pixels} pixels")


def _check(images: Tensor, layers: Sequence[int], patch: int, side: int | None) -> None:
    if layers:
        raise UserError(f"an encoder without weights has its output only, no layers {list(layers)}; leave them out")
    height, width = images.shape[-2:]
    if side is not None and (height, width) != (side, side):
        raise UserError(f"this encoder was made for images of {side} x {side} pixels, got {width} x {height}")
    image_grid(images, patch, channels=3)
