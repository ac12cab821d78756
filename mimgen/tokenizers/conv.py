"""The convolutional tokenizer of VQGAN (Esser et al., 2021), light enough to train on a laptop.

Differences from the paper, each for speed: the first `stem` factor of the down-sampling is a
pixel-unshuffle (no convolution runs at full resolution) and up-sampling is a sub-pixel
convolution. The quantiser is a part: any of `mimgen.tokenizers.quantizers`.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mimgen.errors import UserError
from mimgen.layers.norm import ChannelRMSNorm
from mimgen.pretrained import PretrainedModule
from mimgen.tokenizers.contract import check_images, latents_of
from mimgen.tokenizers.quantizers import (
    BinarySphericalQuantizer,
    FiniteScalarQuantizer,
    IndexBackpropQuantizer,
    LookupFreeQuantizer,
    Quantizer,
    ResidualQuantizer,
    SimpleVectorQuantizer,
    VectorQuantizer,
)
from mimgen.types import Codes


def normalise(channels: int, local: bool) -> nn.Module:
    """Per-position RMS norm where `local`, else VQGAN's group norm (at most 32 groups, eps 1e-6)."""
    if local:
        return ChannelRMSNorm(channels)
    groups = next(g for g in (32, 16, 8, 4, 2, 1) if (channels % g == 0 and channels // g >= 2) or g == 1)
    return nn.GroupNorm(groups, channels, eps=1e-6)


class ResidualBlock(nn.Module):
    """Norm, SiLU, convolution, twice, plus the input. [B, C, h, w] -> [B, C, h, w]."""

    def __init__(self, channels: int, kernel: int, local: bool) -> None:
        super().__init__()
        self.norm1, self.norm2 = normalise(channels, local), normalise(channels, local)
        self.conv1, self.conv2 = (nn.Conv2d(channels, channels, kernel, padding=kernel // 2) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, h, w] -> [B, C, h, w]."""
        h = self.conv1(F.silu(self.norm1(x)))
        return x + self.conv2(F.silu(self.norm2(h)))


class ConvEncoder(nn.Module):
    """Images [B, 3, H, W] in [-1, 1] to latents [B, latent, h, w]."""

    def __init__(self, widths: tuple[int, ...], blocks: int, stem: int, latent: int, local: bool) -> None:
        super().__init__()
        self.stem = stem
        kernel = 1 if local else 3
        layers: list[nn.Module] = [nn.Conv2d(3 * stem * stem, widths[0], 3, padding=1)]
        for level, width in enumerate(widths):
            if level:
                layers.append(nn.Conv2d(widths[level - 1], width, 3, stride=2, padding=1))
            layers += [ResidualBlock(width, kernel, local) for _ in range(blocks)]
        layers += [normalise(widths[-1], local), nn.SiLU(), nn.Conv2d(widths[-1], latent, 1)]
        self.layers = nn.Sequential(*layers)

    def forward(self, images: Tensor) -> Tensor:
        return self.layers(F.pixel_unshuffle(images, self.stem))  # [B, 3 stem^2, H / stem, W / stem] goes in


class ConvDecoder(nn.Module):
    """Latents [B, latent, h, w] to images [B, 3, H, W], nominally in [-1, 1]."""

    def __init__(self, widths: tuple[int, ...], blocks: int, stem: int, latent: int, local: bool) -> None:
        super().__init__()
        self.stem = stem
        layers: list[nn.Module] = [nn.Conv2d(latent, widths[-1], 3, padding=1)]
        for level in reversed(range(len(widths))):
            layers += [ResidualBlock(widths[level], 3, local) for _ in range(blocks + 1)]
            if level:
                layers += [nn.Conv2d(widths[level], 4 * widths[level - 1], 3, padding=1), nn.PixelShuffle(2)]
        layers += [normalise(widths[0], local), nn.SiLU()]
        self.layers = nn.Sequential(*layers)
        self.out = nn.Conv2d(widths[0], 3 * stem * stem, 3, padding=1)

    def forward(self, latents: Tensor) -> Tensor:
        return F.pixel_shuffle(self.out(self.layers(latents)), self.stem)


class ConvTokenizer(PretrainedModule):
    """VQGAN-style tokenizer; saves and loads as a folder.

    Args:
        channels: width of the finest level.
        multipliers: width of each level in units of `channels`; each level after the first halves the grid.
        blocks: residual blocks per level (the decoder has one more).
        stem: pixel-unshuffle factor in front; `downsample` is stem * 2 ** (levels - 1).
        latent: channels of the latent map; for LFQ and BSQ the bits, for FSQ the number of levels counts.
        quantizer: "vq", "lfq", "fsq", "bsq", "simvq", "ibq" or "residual".
        codebook_size: number of codes for VQ, SimVQ and IBQ, and of one level for residual VQ; LFQ and
            BSQ have 2 ** latent, FSQ the product of `levels`.
        levels: FSQ levels (Mentzer et al., 2024), for example (8, 5, 5, 5).
        local: a code sees its neighbourhood only: pointwise encoder blocks and normalisation at each
            position. Group norm lets every code depend on the whole image, so that two images
            that share a part share none of its codes, and a small generator cannot learn them.
        depth: levels of residual VQ, whose ids number codebook_size ** depth.

    Raises:
        UserError: for an unknown quantizer, or sizes that it does not take.
    """

    def __init__(
        self,
        channels: int = 64,
        multipliers: tuple[int, ...] = (1, 2),
        blocks: int = 2,
        stem: int = 2,
        latent: int = 16,
        quantizer: str = "vq",
        codebook_size: int = 1024,
        levels: tuple[int, ...] = (8, 5, 5, 5),
        local: bool = False,
        depth: int = 2,
    ) -> None:
        super().__init__()
        widths = tuple(channels * m for m in multipliers)
        self.downsample = stem * 2 ** (len(widths) - 1)
        bottleneck = _quantizer(quantizer, latent, codebook_size, tuple(levels), depth)
        # the digits of an id, where it has any: generators learn them faster than unrelated ids
        digits = isinstance(bottleneck, FiniteScalarQuantizer | ResidualQuantizer)
        self.levels = bottleneck.levels if digits else None
        self.codebook_size = bottleneck.codebook_size
        self.bottleneck = bottleneck
        self.encoder = ConvEncoder(widths, blocks, stem, self.bottleneck.dim, local)
        self.decoder = ConvDecoder(widths, blocks, stem, self.bottleneck.dim, local)
        self.to(memory_format=torch.channels_last)

    @property
    def last_layer(self) -> Tensor:
        """Weight of the last convolution, where the adaptive GAN weight is measured (VQGAN, eq. 7)."""
        return self.decoder.out.weight

    def encode(self, images: Tensor) -> Codes:
        """[B, 3, H, W] in [0, 1] to codes with ids [B, H / downsample, W / downsample]."""
        check_images(images, self.downsample)
        pixels = (images * 2 - 1).contiguous(memory_format=torch.channels_last)
        return self.bottleneck(self.encoder(pixels))

    def decode(self, codes: Codes | Tensor) -> Tensor:
        """Codes, latents or ids [B, h, w] to images [B, 3, H, W], clipped to [0, 1]."""
        return self.reconstruct(latents_of(codes, self, self.bottleneck.dim)).clamp(0, 1)

    def reconstruct(self, latents: Tensor) -> Tensor:
        """[B, D, h, w] to images before clipping, so that a loss has gradients everywhere."""
        return (self.decoder(latents) + 1) / 2

    def lookup(self, indices: Tensor) -> Tensor:
        """Ids [B, h, w] to latents [B, D, h, w]."""
        return self.bottleneck.lookup(indices)

    def forward(self, images: Tensor) -> tuple[Tensor, Codes]:
        """Images to (unclipped reconstruction [B, 3, H, W], codes); the training path."""
        codes = self.encode(images)
        return self.reconstruct(codes.latents), codes


def _quantizer(
    kind: str, latent: int, codebook_size: int, levels: tuple[int, ...], depth: int
) -> Quantizer:
    makers: dict[str, Callable[[], Quantizer]] = {
        "vq": lambda: VectorQuantizer(latent, codebook_size),
        "lfq": lambda: LookupFreeQuantizer(latent),
        "fsq": lambda: FiniteScalarQuantizer(levels),
        "bsq": lambda: BinarySphericalQuantizer(latent),
        "simvq": lambda: SimpleVectorQuantizer(latent, codebook_size),
        "ibq": lambda: IndexBackpropQuantizer(latent, codebook_size),
        "residual": lambda: ResidualQuantizer(latent, codebook_size, depth),
    }
    if kind not in makers:
        raise UserError(f"quantizer must be one of {', '.join(makers)}, got {kind!r}")
    return makers[kind]()
