"""Two views of each image that differ by a small shift, a mirroring and, in the second, colour (LUT)."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from mimgen.data.transforms.colours import NUMBERS as COLOUR_NUMBERS
from mimgen.data.transforms.colours import Colours
from mimgen.errors import UserError
from mimgen.types import SampleRNG

NUMBERS = 3  # of one shift: down, across, mirroring
_GREYED, _BLURRED, _SOLARISED = 5, 6, 8  # positions of these chances among the numbers of `Colours`


@dataclass(frozen=True)
class ShiftedViews:
    """An image twice, each shifted and mirrored by itself; the second also changed in colour.

    Of grey, blur and solarisation the second view gets exactly one (DeiT III, section 4).

    Attributes:
        padding: largest shift in pixels; what comes in at an edge is mirrored.
        colours: jitter of the second view, and the width of its blur.

    Raises:
        UserError: a negative shift.
    """

    padding: int = 4
    colours: Colours = field(default=Colours(greyed=0.5, blurred=0.5, solarised=0.5))

    def __post_init__(self) -> None:
        if self.padding < 0:
            raise UserError(f"padding={self.padding}: give the largest shift in pixels, 0 for none")

    def __call__(self, images: Tensor, rng: SampleRNG) -> tuple[Tensor, Tensor]:
        """Both views [B, 3, H, W] of images [B, 3, H, W] in [0, 1].

        Raises:
            UserError: images no larger than the shift.
        """
        uniform = rng.uniform(2 * NUMBERS + COLOUR_NUMBERS + 1).to(images.device)
        first, second = (shifted(images, numbers, self.padding) for numbers in uniform[:, : 2 * NUMBERS].split(3, 1))
        numbers, choice = uniform[:, 2 * NUMBERS : -1].clone(), (3 * uniform[:, -1:]).floor()
        for position, which in ((_GREYED, 0), (_BLURRED, 1), (_SOLARISED, 2)):
            # 0 is below every chance, and 1 below none
            numbers[:, position : position + 1] = (choice != which).float()
        return first, self.colours(second, numbers)


def shifted(images: Tensor, uniform: Tensor, padding: int) -> Tensor:
    """Shift each image by up to `padding` pixels in both directions and mirror half of them.

    Args:
        images: [B, C, H, W].
        uniform: [B, 3] numbers in [0, 1): down, across, mirroring.
        padding: largest shift in pixels, less than H and W.

    Returns:
        [B, C, H, W].

    Raises:
        UserError: images no larger than the shift.
    """
    height, width = images.shape[-2:]
    if padding >= min(height, width):
        raise UserError(f"a shift of {padding} pixels is too large for images of {width} x {height}: choose less")
    padded = F.pad(images, (padding,) * 4, mode="reflect")
    start = (uniform[:, :2] * (2 * padding + 1)).long()  # [B, 2], top left in the padded image
    rows = start[:, :1] + torch.arange(height, device=images.device)  # [B, H]
    columns = start[:, 1:] + torch.arange(width, device=images.device)  # [B, W]
    columns = torch.where(uniform[:, 2:] < 0.5, columns.flip(1), columns)
    position = torch.arange(len(images), device=images.device)[:, None, None]
    return padded.permute(0, 2, 3, 1)[position, rows[:, :, None], columns[:, None]].permute(0, 3, 1, 2).contiguous()
