"""What an image looks like while it is being generated."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from mimgen.errors import UserError
from mimgen.sampling.sampler import OnStep

__all__ = ["OnPreview", "Preview", "greyed", "previewing"]

GREY = 0.5


@dataclass(frozen=True)
class Preview:
    """Images after a step.

    Attributes:
        step: from 0.
        first: place of the first of these images among all that were asked for.
        images: [b, 3, H, W] in [0, 1]; grey where a token is still masked.
    """

    step: int
    first: int
    images: Tensor


OnPreview = Callable[[Preview], "bool | None"]
Decode = Callable[[Tensor], Tensor]


def previewing(show: OnPreview, every: int, first: int, decode: Decode) -> OnStep:
    """A callback of the sampler that decodes what is there after every `every` steps.

    Args:
        show: called with each `Preview`; returning True stops the sampling.
        every: 1 for all steps.
        first: place of the batch's first image.
        decode: ids [b, N], some masked, to images.

    Raises:
        UserError: `every` below 1.
    """
    if every < 1:
        raise UserError(f"a preview every {every} steps: give 1 or more")

    def after(step: int, tokens: Tensor) -> bool:
        return (step + 1) % every == 0 and bool(show(Preview(step, first, decode(tokens))))

    return after


def greyed(images: Tensor, masked: Tensor) -> Tensor:
    """Images [b, 3, H, W] with the cells of masked tokens [b, h, w] in grey.

    Codes that do not lie on a grid of the image's shape, as of 1-D tokenizers, leave it as it is.
    """
    height, width = images.shape[2:]
    rows, columns = masked.shape[1:]
    if height * columns != width * rows or height % rows:
        return images
    pixel_mask = F.interpolate(masked[:, None].float(), (height, width), mode="nearest").bool()
    return images.masked_fill(pixel_mask.to(images.device), GREY)
