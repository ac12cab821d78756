"""The discriminator of Open-MAGVIT2's second version: 3x3 convolutions, each followed by a smooth halving."""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mimgen.errors import UserError
from mimgen.tokenizers.discriminators.base import Discriminator

# Binomial rows: box filters convolved with themselves, the usual guard against aliasing.
BINOMIAL = {3: (1.0, 2.0, 1.0), 4: (1.0, 3.0, 3.0, 1.0), 5: (1.0, 4.0, 6.0, 4.0, 1.0)}


class BlurPool(nn.Module):
    """Binomial blur of each channel, then every second pixel.

    Args:
        size: side of the kernel, 3, 4 or 5; the sum of the kernel is 1.
    """

    kernel: Tensor

    def __init__(self, size: int = 4) -> None:
        super().__init__()
        if size not in BINOMIAL:
            raise UserError(f"blur of size {size}: choose from {', '.join(map(str, BINOMIAL))}")
        row = torch.tensor(BINOMIAL[size])
        kernel = row[:, None] * row  # [size, size]
        self.register_buffer("kernel", (kernel / kernel.sum())[None, None])

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] to [B, C, ceil(H / 2), ceil(W / 2)] with a kernel of 4."""
        # The release pads for a kernel of 4 whatever the kernel, so its weights expect that.
        pads = [max((-(-side // 2) - 1) * 2 + 4 - side, 0) for side in (x.shape[-1], x.shape[-2])]
        x = F.pad(x, [part for pad in pads for part in (pad // 2, pad - pad // 2)])
        return F.conv2d(x, self.kernel.expand(x.shape[1], -1, -1, -1), stride=2, groups=x.shape[1])


class BlurDiscriminator(Discriminator):
    """3x3 convolutions with a halving, group norm 32 and leaky ReLU 0.1 each; positive logits mean real.

    Keys are those of the official release (`block_in.0.weight`, `blocks.0.0.weight`, ...).

    Args:
        channels: width of the first stage, a multiple of 32; it doubles with every later stage.
        stages: halvings of the image.
        blur: halve by a binomial blur instead of the mean of 2x2 pixels.
        blur_size: side of the blur, 3, 4 or 5.
        in_channels: channels of the images.

    Raises:
        UserError: `channels` does not divide by 32, no stage, or an unknown blur.
    """

    def __init__(
        self,
        channels: int = 128,
        stages: int = 3,
        blur: bool = False,
        blur_size: int = 4,
        in_channels: int = 3,
    ) -> None:
        super().__init__()
        if channels < 32 or channels % 32:
            raise UserError(f"BlurDiscriminator: channels must be a multiple of 32, got {channels}")
        if stages < 1:
            raise UserError(f"BlurDiscriminator: stages must be at least 1, got {stages}")
        self.block_in = nn.Sequential(nn.Conv2d(in_channels, channels, 5, padding=2), nn.LeakyReLU(0.1))
        widths = [channels, *(channels * 2**stage for stage in range(stages))]
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(narrow, wide, 3, padding=1),
                BlurPool(blur_size) if blur else nn.AvgPool2d(2),
                nn.GroupNorm(32, wide),
                nn.LeakyReLU(0.1),
            )
            for narrow, wide in pairwise(widths)
        )
        last = widths[-1]
        self.to_logits = nn.Sequential(
            nn.Conv2d(last, last, 1), nn.LeakyReLU(0.1), nn.Conv2d(last, 1, 5, padding=2)
        )

    def forward(self, images: Tensor) -> Tensor:
        """Images [B, 3, H, W] in [-1, 1] to logits [B, 1, h, w], h = H / 2 ** stages."""
        x = self.block_in(images)
        for block in self.blocks:
            x = block(x)
        return self.to_logits(x)
