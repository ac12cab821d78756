"""Random changes of colour, of whole batches: jitter, grey, blur, solarisation (BYOL, appendix B)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mimgen.errors import UserError

NUMBERS = 9  # random numbers that one image takes

_GREY = (0.299, 0.587, 0.114)


@dataclass(frozen=True)
class Colours:
    """What is done to each image, in this order; where it is not a chance, it is a strength.

    Jitter changes brightness, contrast and saturation by factors uniform in 1 - x to 1 + x, then turns the hue.

    Attributes:
        jittered: chance of the jitter.
        brightness: x of the factor on the image.
        contrast: x of the factor on the difference to the mean grey.
        saturation: x of the factor on the difference to its own grey.
        hue: largest turn, of a whole turn.
        greyed: chance of losing all colour.
        blurred: chance of a Gaussian blur.
        sigma: smallest and largest standard deviation of the blur in pixels.
        solarised: chance of inverting what is brighter than one half.

    Raises:
        UserError: a chance outside 0..1, or a blur without width.
    """

    jittered: float = 0.8
    brightness: float = 0.4
    contrast: float = 0.4
    saturation: float = 0.2
    hue: float = 0.1
    greyed: float = 0.2
    blurred: float = 0.5
    sigma: tuple[float, float] = (0.1, 2.0)
    solarised: float = 0.0

    def __post_init__(self) -> None:
        for name in ("jittered", "greyed", "blurred", "solarised"):
            if not 0 <= getattr(self, name) <= 1:
                raise UserError(f"{name}={getattr(self, name)} is a chance: choose 0 to 1")
        if not 0 < self.sigma[0] <= self.sigma[1]:
            raise UserError(f"sigma={self.sigma}: give the least and the largest blur in pixels, above 0")

    def __call__(self, images: Tensor, uniform: Tensor) -> Tensor:
        """Images [B, 3, H, W] in [0, 1], changed by numbers [B, 9] in [0, 1); float32 in [0, 1]."""
        chance = [uniform[:, offset, None, None, None] for offset in range(NUMBERS)]
        images = images.float()
        images = torch.where(chance[0] < self.jittered, self._jitter(images, chance[1:5]), images)
        images = torch.where(chance[5] < self.greyed, grey(images).expand_as(images), images)
        if self.blurred:
            sigma = self.sigma[0] + (self.sigma[1] - self.sigma[0]) * uniform[:, 7]
            images = torch.where(chance[6] < self.blurred, blur(images, sigma), images)
        return torch.where((chance[8] < self.solarised) & (images >= 0.5), 1 - images, images)

    def _jitter(self, images: Tensor, numbers: list[Tensor]) -> Tensor:
        brightness, contrast, saturation, turn = (2 * number - 1 for number in numbers)
        images = (images * (1 + self.brightness * brightness)).clamp(0, 1)
        images = _mixed(images, grey(images).mean((2, 3), keepdim=True), 1 + self.contrast * contrast)
        images = _mixed(images, grey(images), 1 + self.saturation * saturation)
        return turn_hue(images, self.hue * turn) if self.hue else images


def grey(images: Tensor) -> Tensor:
    """Brightness [B, 1, H, W] of images [B, 3, H, W]."""
    return (images * images.new_tensor(_GREY)[:, None, None]).sum(1, keepdim=True)


def turn_hue(images: Tensor, turn: Tensor) -> Tensor:
    """Turn the hue of images [B, 3, H, W] in [0, 1] by `turn` [B, 1, 1, 1] of a whole turn; lightness stays."""
    maximum, minimum = images.amax(1, keepdim=True), images.amin(1, keepdim=True)
    value_range = (maximum - minimum).clamp(min=1e-8)
    red, green, blue = images.split(1, dim=1)
    other = torch.where(maximum == green, (blue - red) / value_range + 2, (red - green) / value_range + 4)
    sector = torch.where(maximum == red, (green - blue) / value_range, other)
    # from hue, saturation and value back: each channel is the value less a trapezium of the hue
    shifted = (sector + 6 * turn)[:, :1] + images.new_tensor([5.0, 3.0, 1.0])[:, None, None]
    phase = shifted % 6
    return maximum - (maximum - minimum) * torch.minimum(phase, 4 - phase).clamp(0, 1)


def blur(images: Tensor, sigma: Tensor) -> Tensor:
    """Gaussian blur of images [B, C, H, W], each by its own standard deviation [B] in pixels."""
    down, across = (_smoothing(side, sigma)[:, None] for side in images.shape[2:])
    with torch.autocast(images.device.type, enabled=False):
        return down @ images.float() @ across.transpose(2, 3)


def _smoothing(side: int, sigma: Tensor) -> Tensor:
    """[B, side, side] weights whose rows sum to 1, at the edges too."""
    offset = torch.arange(side, device=sigma.device)
    distance = (offset[:, None] - offset).float() / sigma[:, None, None]
    return (-0.5 * distance.square()).softmax(-1)


def _mixed(images: Tensor, other: Tensor, share: Tensor) -> Tensor:
    return (share * images + (1 - share) * other).clamp(0, 1)
