"""PatchGAN: a discriminator of overlapping patches."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from mimgen.errors import UserError
from mimgen.tokenizers.discriminators.base import Discriminator


class PatchDiscriminator(Discriminator):
    """PatchGAN (pix2pix; VQGAN): one logit for each overlapping patch, positive means real.

    4x4 convolutions, the first `layers` with stride 2 and the last two with stride 1, leaky ReLU
    0.2. Keys are those of the official release (`main.0.weight`, ...).

    Args:
        channels: width after the first convolution; it doubles up to eight times that.
        layers: number of strided convolutions; 3 sees patches of 70 pixels.
        norm: "batch" as released, or "group", which does not depend on the other images of the
            batch and so gives the same result on any number of processes.
        in_channels: channels of the images.

    Raises:
        UserError: when `layers` is below 1 or `channels` does not divide into the groups.
    """

    def __init__(
        self,
        channels: int = 64,
        layers: int = 3,
        norm: Literal["batch", "group"] = "batch",
        in_channels: int = 3,
    ) -> None:
        super().__init__()
        if layers < 1:
            raise UserError(f"PatchDiscriminator: layers must be at least 1, got {layers}")
        if norm == "group" and channels % 8:
            raise UserError(f"PatchDiscriminator: with group norm channels must divide by 8, got {channels}")
        parts: list[nn.Module] = [nn.Conv2d(in_channels, channels, 4, 2, 1), nn.LeakyReLU(0.2)]
        width = channels
        for layer in range(1, layers + 1):
            wider = channels * min(2**layer, 8)  # pix2pix stops at eight times the first width
            stride = 2 if layer < layers else 1
            # A batch norm takes the mean of each channel away, and any bias with it.
            parts += [
                nn.Conv2d(width, wider, 4, stride, 1, bias=norm == "group"),
                nn.BatchNorm2d(wider) if norm == "batch" else nn.GroupNorm(8, wider),
                nn.LeakyReLU(0.2),
            ]
            width = wider
        self.main = nn.Sequential(*parts, nn.Conv2d(width, 1, 4, 1, 1))
        self.apply(_init_weights)

    def forward(self, images: Tensor) -> Tensor:
        """Images [B, 3, H, W] in [-1, 1] to logits [B, 1, h, w]."""
        return self.main(images)


def _init_weights(module: nn.Module) -> None:
    """Normal weights of deviation 0.02, as DCGAN and VQGAN begin with."""
    if isinstance(module, nn.Conv2d):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
