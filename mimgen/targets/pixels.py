"""Pixels of a patch as the target, raw (SimMIM) or each patch normalised by itself (MAE, section 3)."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mimgen.errors import UserError
from mimgen.layers.patch_embed import image_grid
from mimgen.types import Mask

EPSILON = 1e-6  # as in MAE's release; a flat patch has no variance to divide by


class PixelTarget(nn.Module):
    """Patches [B, N, C patch^2] of images with any number of channels.

    Args:
        patch: side of a patch in pixels.
        normalise: (x - mean) / sqrt(variance + 1e-6) over the numbers of a patch, variance unbiased.
        mean: of each channel, taken off first; matters with `normalise` too, as channels differ. As many as the
            images have channels C.
        std: of each channel, divided by.
        last: order of the numbers of a patch: false is (channel, row, column), true is (row, column,
            channel), that of MAE's releases.
        distance: "squared" (MAE) or "absolute" (SimMIM), averaged over the numbers of a patch.

    Raises:
        UserError: an unknown distance, or other numbers of means than of deviations.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        patch: int = 16,
        *,
        normalise: bool = True,
        mean: tuple[float, ...] = (0.0, 0.0, 0.0),
        std: tuple[float, ...] = (1.0, 1.0, 1.0),
        last: bool = False,
        distance: Literal["squared", "absolute"] = "squared",
    ) -> None:
        super().__init__()
        if distance not in ("squared", "absolute"):
            raise UserError(f'distance {distance!r} is unknown: choose "squared" or "absolute"')
        if len(mean) != len(std):
            raise UserError(f"mean {mean} and std {std} need one number per channel each")
        self.channels = len(mean)
        self.patch, self.dim, self.normalise = patch, self.channels * patch * patch, normalise
        self.last, self.distance = last, distance
        self.register_buffer("mean", torch.tensor(mean)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(std)[:, None, None], persistent=False)

    @torch.no_grad()
    def forward(self, images: Tensor, mask: Mask | None = None) -> Tensor:
        """[B, C, H, W] in [0, 1] to [B, N, C patch^2] float32.

        Raises:
            UserError: another number of channels, or sides that are no multiples of the patch.
        """
        patches = self._patches(images)
        if not self.normalise:
            return patches
        variance, mean = torch.var_mean(patches, dim=-1, keepdim=True)  # [B, N, 1] each
        return (patches - mean) / (variance + EPSILON).sqrt()

    def _patches(self, images: Tensor) -> Tensor:
        """[B, C, H, W] in [0, 1] to patches [B, N, C patch^2] in the target's channel units, not normalised."""
        self._check(images)
        pixels = (images.float() - self.mean) / self.std
        patches = F.pixel_unshuffle(pixels, self.patch).flatten(2).transpose(1, 2)  # [B, N, C patch^2]
        if self.last:
            patches = patches.unflatten(2, (self.channels, -1)).transpose(2, 3).flatten(2)
        return patches

    def loss(self, predicted: Tensor, goal: Tensor) -> Tensor:
        """Mean squared or absolute error [M] of [M, D] and [M, D]."""
        difference = predicted.float() - goal
        return (difference.abs() if self.distance == "absolute" else difference.square()).mean(-1)

    def images(self, patches: Tensor, grid: tuple[int, int]) -> Tensor:
        """Patches [B, N, C patch^2], not normalised by patch, to images [B, C, H, W] in [0, 1] where true."""
        if self.last:
            patches = patches.unflatten(2, (-1, self.channels)).transpose(2, 3).flatten(2)
        pixels = F.pixel_shuffle(patches.transpose(1, 2).unflatten(2, grid), self.patch)  # [B, C, H, W]
        return pixels * self.std + self.mean

    def unnormalised(self, predicted: Tensor, images: Tensor) -> Tensor:
        """Predictions as images in [0, 1].

        Where the target is normalised per patch, the mean and the variance of the true patch are put back: a
        prediction does not contain them, so colours and contrast are borrowed.

        Args:
            predicted: [B, N, C patch^2].
            images: [B, C, H, W] in [0, 1], the true ones.

        Returns:
            [B, C, H, W].
        """
        predicted = predicted.float()
        if self.normalise:
            variance, mean = torch.var_mean(self._patches(images), dim=-1, keepdim=True)
            predicted = predicted * (variance + EPSILON).sqrt() + mean
        grid = (images.shape[-2] // self.patch, images.shape[-1] // self.patch)
        return self.images(predicted, grid).clamp(0, 1)

    def _check(self, images: Tensor) -> None:
        if images.ndim != 4 or images.shape[1] != self.channels:
            raise UserError(
                f"this target is of images [B, {self.channels}, H, W], got {list(images.shape)}: give mean and std "
                "one number for each channel"
            )
        image_grid(images, self.patch, self.channels)
