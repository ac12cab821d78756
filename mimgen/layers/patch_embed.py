"""Images to tokens: one convolution whose stride is its kernel."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from mimgen.errors import UserError
from mimgen.ops.positions import gather_tokens


class PatchEmbed(nn.Module):
    """Non-overlapping patches to tokens; parameter names as in timm.

    Args:
        patch: side of a patch in pixels.
        width: D.
        channels: C of the image.
        bias: of the convolution.
    """

    def __init__(self, patch: int, width: int, channels: int = 3, bias: bool = True) -> None:
        super().__init__()
        self.patch, self.channels = patch, channels
        self.proj = nn.Conv2d(channels, width, patch, patch, bias=bias)

    def grid(self, images: Tensor) -> tuple[int, int]:
        """Rows and columns of patches of images [B, C, H, W].

        Raises:
            UserError: another number of channels, or sides that are no multiples of the patch.
        """
        return image_grid(images, self.patch, self.channels)

    def forward(self, images: Tensor, keep: Tensor | None = None) -> Tensor:
        """Images to tokens.

        Args:
            images: [B, C, H, W].
            keep: [B, K] int64 patches, counted row by row, that are wanted; the others cost nothing.

        Returns:
            [B, N, D], row-major, or [B, K, D] of the patches of `keep` in its order.
        """
        if keep is None:
            return self.proj(images).flatten(2).transpose(1, 2)
        return F.linear(self.pixels(images, keep), self.proj.weight.flatten(1), self.proj.bias)

    def pixels(self, images: Tensor, keep: Tensor | None = None) -> Tensor:
        """The numbers of patches in the order (channel, row, column), [B, N, C patch^2] or [B, K, C patch^2]."""
        patches = F.pixel_unshuffle(images, self.patch).flatten(2).transpose(1, 2)
        return patches if keep is None else gather_tokens(patches, keep)


def patch_grid(image_size: int | tuple[int, int], patch: int) -> tuple[int, int]:
    """Rows and columns of patches of `patch` pixels in images of a side, or (rows, columns), of `image_size` pixels.

    Raises:
        UserError: sides that are no multiples of the patch.
    """
    rows, columns = (image_size, image_size) if isinstance(image_size, int) else image_size
    if rows % patch or columns % patch:
        raise UserError(f"image_size {image_size} does not divide into patches of {patch} pixels: change one")
    return rows // patch, columns // patch


def image_grid(images: Tensor, patch: int, channels: int) -> tuple[int, int]:
    """Rows and columns of patches of images [B, C, H, W].

    Raises:
        UserError: another number of channels, or sides that are no multiples of the patch.
    """
    if images.ndim != 4 or images.shape[1] != channels:
        raise UserError(
            f"this encoder takes images [B, {channels}, H, W], got {list(images.shape)}: convert them to "
            f"{channels} channels"
        )
    height, width = images.shape[-2:]
    if height % patch or width % patch:
        raise UserError(
            f"images of {width} x {height} do not divide into patches of {patch} pixels: resize or crop to "
            f"multiples of {patch}"
        )
    return height // patch, width // patch
