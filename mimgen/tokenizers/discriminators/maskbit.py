"""A PatchGAN in the manner of MaskBit: smaller kernels, normalised before each convolution."""

from __future__ import annotations

from torch import Tensor, nn

from mimgen.errors import UserError
from mimgen.tokenizers.discriminators.base import Discriminator


class MaskBitDiscriminator(Discriminator):
    """PatchGAN with 3x3 convolutions, group norm 32 before them and max pooling; positive logits mean real.

    The first `layers` convolutions have stride 2, and one more halving is by taking the largest of 2x2.

    Keys are those of the official release (`main.0.weight`, ...).

    Args:
        channels: width after the first convolution, a multiple of 32; the n-th after it has
            min(2 ** (n - 1), 8) times that.
        layers: number of strided convolutions.
        in_channels: channels of the images.

    Raises:
        UserError: when `layers` is below 1 or `channels` does not divide by 32.
    """

    def __init__(self, channels: int = 64, layers: int = 3, in_channels: int = 3) -> None:
        super().__init__()
        if layers < 1:
            raise UserError(f"MaskBitDiscriminator: layers must be at least 1, got {layers}")
        if channels < 32 or channels % 32:
            raise UserError(f"MaskBitDiscriminator: channels must be a multiple of 32, got {channels}")
        parts: list[nn.Module] = [nn.Conv2d(in_channels, channels, 3, 2, 1), nn.LeakyReLU(0.2)]
        width = channels
        for layer in range(1, layers + 1):
            wider = channels * min(2 ** (layer - 1), 8)
            stride = 2 if layer < layers else 1
            parts += [nn.GroupNorm(32, width, 1e-6), nn.Conv2d(width, wider, 3, stride, 1), nn.LeakyReLU(0.2)]
            width = wider
        self.main = nn.Sequential(*parts, nn.MaxPool2d(2), nn.Conv2d(width, 1, 3, padding=1))

    def forward(self, images: Tensor) -> Tensor:
        """Images [B, 3, H, W] in [-1, 1] to logits [B, 1, h, w]."""
        return self.main(images)
