"""Open-MAGVIT2 (arXiv 2409.04410): a convolutional tokenizer with 2^18 binary codes.

Module names are those of the official state dict, so that released weights load as they are.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from mimgen.pretrained import PretrainedModule
from mimgen.tokenizers.contract import check_images, latents_of
from mimgen.tokenizers.magvit2.layers import down_levels, level_blocks, residual_blocks, up_levels
from mimgen.tokenizers.quantizers import LookupFreeQuantizer
from mimgen.tokenizers.residual import group_norm
from mimgen.types import Codes


class MagvitEncoder(nn.Module):
    """Images [B, 3, H, W] in [-1, 1] to latents [B, latent, h, w].

    Args:
        channels: width of the stem.
        multipliers: width of each level in units of `channels`, finest first.
        blocks: residual blocks of each level; the middle has as many as the coarsest level.
        latent: channels of the latents.
        image_channels: channels of the images.
    """

    def __init__(
        self,
        channels: int,
        multipliers: Sequence[int],
        blocks: int | Sequence[int],
        latent: int,
        image_channels: int = 3,
    ) -> None:
        super().__init__()
        widths = [channels * m for m in multipliers]
        counts = level_blocks(blocks, len(widths))
        self.conv_in = nn.Conv2d(image_channels, channels, 3, padding=1, bias=False)
        self.down = down_levels(widths, channels, counts)
        self.mid_block = residual_blocks(widths[-1], widths[-1], counts[-1])
        self.norm_out = group_norm(widths[-1])
        self.conv_out = nn.Conv2d(widths[-1], latent, 1)

    def forward(self, images: Tensor) -> Tensor:
        """[B, 3, H, W] -> [B, latent, h, w]."""
        x = self.conv_in(images)
        for part in (*self.down, *self.mid_block):
            x = part(x)
        return self.conv_out(F.silu(self.norm_out(x)))


class MagvitDecoder(nn.Module):
    """Latents [B, latent, h, w] to images [B, 3, H, W], nominally in [-1, 1].

    Args:
        channels: as of the encoder.
        multipliers: as of the encoder.
        blocks: as of the encoder.
        latent: channels of the latents.
        image_channels: channels of the images.
    """

    def __init__(
        self,
        channels: int,
        multipliers: Sequence[int],
        blocks: int | Sequence[int],
        latent: int,
        image_channels: int = 3,
    ) -> None:
        super().__init__()
        widths = [channels * m for m in multipliers]
        counts = level_blocks(blocks, len(widths))
        self.conv_in = nn.Conv2d(latent, widths[-1], 3, padding=1)
        self.mid_block = residual_blocks(widths[-1], widths[-1], counts[-1])
        self.up, self.adaptive = up_levels(widths, latent, counts)
        self.norm_out = group_norm(widths[0])
        self.conv_out = nn.Conv2d(widths[0], image_channels, 3, padding=1)

    def forward(self, latents: Tensor) -> Tensor:
        """[B, latent, h, w] -> [B, 3, H, W]."""
        x = self.conv_in(latents)
        for block in self.mid_block:
            x = block(x)
        for level, norm in zip(reversed(self.up), reversed(self.adaptive), strict=True):
            x = level(norm(x, latents))
        return self.conv_out(F.silu(self.norm_out(x)))


class OpenMagvit2(PretrainedModule):
    """The tokenizer of Open-MAGVIT2; saves and loads as a folder.

    The default size is the official 256 px model with 16 x 16 tokens.

    Args:
        channels: width of the finest level.
        multipliers: width of each level in units of `channels`; each level after the first halves the grid.
        blocks: residual blocks per level, one number or one for each level, finest first.
        bits: channels of the latents, each a bit of the id: 2 ** bits codes. Channel j is bit j.
        commitment: weight of mean (latent - sign)^2.
        entropy: weight of sample entropy - codebook entropy.
    """

    def __init__(
        self,
        channels: int = 128,
        multipliers: tuple[int, ...] = (1, 1, 2, 2, 4),
        blocks: int | tuple[int, ...] = 4,
        bits: int = 18,
        commitment: float = 0.25,
        entropy: float = 0.1,
    ) -> None:
        super().__init__()
        self.downsample = 2 ** (len(multipliers) - 1)
        self.encoder = MagvitEncoder(channels, multipliers, blocks, bits)
        self.decoder = MagvitDecoder(channels, multipliers, blocks, bits)
        self.bottleneck = LookupFreeQuantizer(
            bits, commitment=commitment, entropy=entropy, normalise=False, little_endian=True, logarithm="shift"
        )
        self.codebook_size: int = self.bottleneck.codebook_size

    @property
    def last_layer(self) -> Tensor:
        """Weight of the last convolution, where the adaptive GAN weight is measured."""
        return self.decoder.conv_out.weight

    def encode(self, images: Tensor) -> Codes:
        """[B, 3, H, W] in [0, 1] to codes with ids [B, H / downsample, W / downsample]."""
        check_images(images, self.downsample)
        return self.bottleneck(self.encoder(images * 2 - 1))

    def decode(self, codes: Codes | Tensor) -> Tensor:
        """Codes, latents or ids [B, h, w] to images [B, 3, H, W], clipped to [0, 1]."""
        return self.reconstruct(latents_of(codes, self, self.bottleneck.dim)).clamp(0, 1)

    def reconstruct(self, latents: Tensor) -> Tensor:
        """[B, bits, h, w] to images before clipping, so that a loss has gradients everywhere."""
        return (self.decoder(latents) + 1) / 2

    def lookup(self, indices: Tensor) -> Tensor:
        """Ids [B, h, w] to latents [B, bits, h, w]."""
        return self.bottleneck.lookup(indices)

    def forward(self, images: Tensor) -> tuple[Tensor, Codes]:
        """Images to (unclipped reconstruction [B, 3, H, W], codes); the training path."""
        codes = self.encode(images)
        return self.reconstruct(codes.latents), codes
