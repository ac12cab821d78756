"""The discriminator of StyleGAN 2: residual blocks down to one logit per image."""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mimgen.errors import UserError
from mimgen.tokenizers.discriminators.base import Discriminator

COARSEST = 4  # pixels a side of the last feature map


class Blur(nn.Module):
    """[1, 2, 1] blur in both directions, images mirrored at the border."""

    f: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("f", torch.tensor([1.0, 2.0, 1.0]))

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C, H, W]."""
        kernel = self.f[:, None] * self.f  # [3, 3]
        kernel = (kernel / kernel.abs().sum()).expand(x.shape[1], 1, -1, -1)
        return F.conv2d(F.pad(x, (1, 1, 1, 1), "reflect"), kernel, groups=x.shape[1])


class StyleBlock(nn.Module):
    """(downsample(net(x)) + skip(x)) / sqrt 2, half the size (StyleGAN 2, figure 7, right).

    Args:
        narrow: channels in.
        wide: channels out.
    """

    def __init__(self, narrow: int, wide: int) -> None:
        super().__init__()
        self.conv_res = nn.Conv2d(narrow, wide, 1, stride=2)
        self.net = nn.Sequential(
            nn.Conv2d(narrow, wide, 3, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(wide, wide, 3, padding=1),
            nn.LeakyReLU(0.2),
        )
        self.downsample = nn.Sequential(Blur(), nn.Conv2d(wide, wide, 3, stride=2, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] to [B, C', ceil(H / 2), ceil(W / 2)]."""
        # the sum of two branches of variance 1 has variance 2
        return (self.downsample(self.net(x)) + self.conv_res(x)) / 2**0.5


class StyleDiscriminator(Discriminator):
    """StyleGAN 2's discriminator without minibatch statistics: one logit per image, positive means real.

    Args:
        pixels: side of the square images, a power of two from 8 on.
        capacity: width times side of a feature map: 16384 gives 64 channels at 256 pixels, 512 at 32.
        widest: largest width.
        in_channels: channels of the images.

    Raises:
        UserError: `pixels` is not a power of two, or below 8.
    """

    def __init__(
        self, pixels: int = 256, capacity: int = 16384, widest: int = 512, in_channels: int = 3
    ) -> None:
        super().__init__()
        if pixels < 2 * COARSEST or pixels & (pixels - 1):
            raise UserError(
                f"StyleDiscriminator takes squares of 8, 16, 32, ... pixels, got {pixels}: choose another "
                "discriminator, or images of such a size"
            )
        sides = [pixels]
        while sides[-1] > COARSEST:
            sides.append(sides[-1] // 2)
        widths = [min(widest, capacity // side) for side in sides]
        self.pixels = pixels
        first = nn.Conv2d(in_channels, widths[0], 3, padding=1)
        self.blocks = nn.ModuleList([first, nn.LeakyReLU(0.2), *(StyleBlock(*pair) for pair in pairwise(widths))])
        last = widths[-1]
        self.final_conv = nn.Sequential(nn.Conv2d(last, last, 3, padding=1), nn.LeakyReLU(0.2))
        self.final_linear = nn.Sequential(
            nn.Linear(last * COARSEST**2, last), nn.LeakyReLU(0.2), nn.Linear(last, 1)
        )

    def forward(self, images: Tensor) -> Tensor:
        """Images [B, 3, pixels, pixels] in [-1, 1] to logits [B, 1].

        Raises:
            UserError: images of another size.
        """
        if images.shape[-2:] != (self.pixels, self.pixels):
            raise UserError(
                f"this StyleDiscriminator takes {self.pixels} x {self.pixels} pixels, got "
                f"{images.shape[-1]} x {images.shape[-2]}: build it with that size"
            )
        x = images
        for block in self.blocks:
            x = block(x)
        return self.final_linear(self.final_conv(x).flatten(1))  # [B, 1]
