"""Images of Pillow to the tensors of a pipeline and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mimgen.errors import UserError

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["fitted", "to_mask", "to_pil", "to_tensor"]


def to_pil(images: Tensor) -> list[Image]:
    """[B, 3, H, W] in [0, 1] to B images."""
    from PIL import Image

    array = (images.clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
    return [Image.fromarray(image) for image in array]


def to_tensor(images: Image | Sequence[Image] | Tensor) -> Tensor:
    """One image, or several of one size, to [B, 3, H, W] float32 in [0, 1]; tensors as they are.

    Transparency comes on white.

    Raises:
        UserError: no image, or images of different sizes.
    """
    if isinstance(images, Tensor):
        return images
    from mimgen.data.sources.decode import to_rgb

    return _stacked([_pixels(to_rgb(image)) for image in _listed(images)])


def to_mask(masks: Image | Sequence[Image] | Tensor) -> Tensor:
    """One mask, or several of one size, to [B, H, W] float32 in [0, 1], 1 where white or transparent."""
    if isinstance(masks, Tensor):
        return masks
    return to_tensor(masks).mean(1)


def fitted(image: Image, height: int, width: int, *, mask: bool = False) -> Image:
    """An image scaled until it covers height x width, and cut at the centre.

    Args:
        image: of any size.
        height: in pixels.
        width: in pixels.
        mask: scale without mixing neighbours.
    """
    from PIL import Image

    if image.size == (width, height):
        return image
    scale = max(width / image.width, height / image.height)
    wide, high = width / scale, height / scale
    left, top = (image.width - wide) / 2, (image.height - high) / 2
    how = Image.Resampling.NEAREST if mask else Image.Resampling.LANCZOS
    return image.resize((width, height), how, box=(left, top, left + wide, top + high))


def _listed(images: Image | Sequence[Image]) -> list[Image]:
    from PIL.Image import Image as PilImage

    found = [images] if isinstance(images, PilImage) else list(images)
    if not found or not all(isinstance(image, PilImage) for image in found):
        raise UserError("give an image of Pillow, a list of them or a tensor [B, 3, H, W] in [0, 1]")
    return found


def _stacked(tensors: list[Tensor]) -> Tensor:
    if len({tensor.shape for tensor in tensors}) > 1:
        sizes = ", ".join(sorted({f"{tensor.shape[2]} x {tensor.shape[1]}" for tensor in tensors}))
        raise UserError(f"images of different sizes ({sizes}) in one call: scale them to one")
    return torch.stack(tensors)


def _pixels(image: Image) -> Tensor:
    import numpy as np

    return torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255
