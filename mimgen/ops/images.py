"""Images as numbers in [0, 1], as 8-bit colours and as PNG files: the one place that converts between them."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["png_bytes", "save_png", "to_float", "to_pil", "to_uint8"]


def to_float(images: Tensor) -> Tensor:
    """8-bit colours, uint8 of any shape, to float32 in [0, 1]; what is no uint8 only becomes float32."""
    return images.float() / 255 if images.dtype == torch.uint8 else images.float()


def to_uint8(images: Tensor) -> Tensor:
    """[0, 1] to 8-bit colours by rounding, on the CPU; values outside are clamped."""
    return (images.detach().float().cpu().clamp(0, 1) * 255).round().to(torch.uint8)


def to_pil(image: Tensor) -> Image:
    """[3, H, W] in [0, 1] to an image of Pillow."""
    from PIL import Image

    return Image.fromarray(to_uint8(image).permute(1, 2, 0).contiguous().numpy())


def png_bytes(image: Tensor) -> bytes:
    """[3, H, W] in [0, 1] as the content of a PNG file, as small as Pillow makes it."""
    buffer = io.BytesIO()
    to_pil(image).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def save_png(image: Tensor, path: Path) -> None:
    """Write [3, H, W] in [0, 1] to `path`."""
    to_pil(image).save(path, "PNG")
