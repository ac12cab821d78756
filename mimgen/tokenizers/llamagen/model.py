"""LlamaGen's VQ tokenizer (Sun et al., 2024, arXiv 2406.06525), under its official key names."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mimgen.errors import UserError
from mimgen.layers.attention import attend
from mimgen.pretrained import PretrainedModule
from mimgen.tokenizers.codebook import GradientCodebook
from mimgen.tokenizers.contract import check_images, latents_of
from mimgen.tokenizers.residual import ResidualBlock, group_norm
from mimgen.types import Codes

GROUPS = 32


class MapAttention(nn.Module):
    """One-headed attention between the positions of a map, plus the input. [B, C, h, w] -> [B, C, h, w]."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = group_norm(channels)
        self.q, self.k, self.v, self.proj_out = (nn.Conv2d(channels, channels, 1) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, h, w] -> [B, C, h, w]."""
        normed = self.norm(x)
        # [B, h w, 1, C] each: one head
        q, k, v = (layer(normed).flatten(2).transpose(1, 2)[:, :, None] for layer in (self.q, self.k, self.v))
        mixed = attend(q, k, v)[:, :, 0].transpose(1, 2).unflatten(2, x.shape[2:])  # [B, C, h, w]
        return x + self.proj_out(mixed)


class Downsample(nn.Module):
    """Halve a map by a strided convolution that is padded right and below only."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, h, w] -> [B, C, h / 2, w / 2]."""
        return self.conv(F.pad(x, (0, 1, 0, 1)))  # [B, C, h / 2, w / 2]


class Upsample(nn.Module):
    """Double a map by repetition and a convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, h, w] -> [B, C, 2 h, 2 w]."""
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))


class Level(nn.Module):
    """Residual blocks at one resolution, each followed by attention where asked, then `resample`.

    Args:
        channels: width that comes in.
        out: width of the blocks.
        blocks: number of blocks; without any the width stays.
        attention: one attention layer after each block.
        resample: "downsample", "upsample" or None.
    """

    def __init__(self, channels: int, out: int, blocks: int, attention: bool, resample: str | None) -> None:
        super().__init__()
        self.channels = out if blocks else channels
        self.res = nn.ModuleList(ResidualBlock(out if i else channels, out, bias=True) for i in range(blocks))
        self.attn = nn.ModuleList(MapAttention(out) for _ in range(blocks if attention else 0))
        if resample == "downsample":
            self.downsample = Downsample(self.channels)
        if resample == "upsample":
            self.upsample = Upsample(self.channels)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, h, w] -> [B, C', h', w']."""
        for number, block in enumerate(self.res):
            x = block(x)
            if self.attn:
                x = self.attn[number](x)
        for name in ("downsample", "upsample"):
            x = getattr(self, name)(x) if hasattr(self, name) else x
        return x


def _middle(channels: int) -> nn.ModuleList:
    first, last = (ResidualBlock(channels, channels, bias=True) for _ in range(2))
    return nn.ModuleList([first, MapAttention(channels), last])


class LlamaGenEncoder(nn.Module):
    """Images [B, 3, H, W] in [-1, 1] to maps [B, z, h, w]."""

    def __init__(self, channels: int, multipliers: tuple[int, ...], blocks: int, z: int) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(3, channels, 3, padding=1)
        levels: list[Level] = []
        for number, multiplier in enumerate(multipliers):
            last = number == len(multipliers) - 1
            width = levels[-1].channels if levels else channels
            levels.append(Level(width, channels * multiplier, blocks, last, None if last else "downsample"))
        self.conv_blocks = nn.ModuleList(levels)
        width = levels[-1].channels
        self.mid = _middle(width)
        self.norm_out = group_norm(width)
        self.conv_out = nn.Conv2d(width, z, 3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        """[B, 3, H, W] -> [B, z, h, w]."""
        x = self.conv_in(images)
        for layer in (*self.conv_blocks, *self.mid):
            x = layer(x)
        return self.conv_out(F.silu(self.norm_out(x)))


class LlamaGenDecoder(nn.Module):
    """Maps [B, z, h, w] to images [B, 3, H, W], nominally in [-1, 1]."""

    def __init__(self, channels: int, multipliers: tuple[int, ...], blocks: int, z: int) -> None:
        super().__init__()
        width = channels * multipliers[-1]
        self.conv_in = nn.Conv2d(z, width, 3, padding=1)
        self.mid = _middle(width)
        levels: list[Level] = []
        for number in reversed(range(len(multipliers))):
            coarsest = number == len(multipliers) - 1
            out = channels * multipliers[number]
            levels.append(Level(width, out, blocks + 1, coarsest, "upsample" if number else None))
            width = levels[-1].channels
        self.conv_blocks = nn.ModuleList(levels)
        self.norm_out = group_norm(width)
        self.conv_out = nn.Conv2d(width, 3, 3, padding=1)

    def forward(self, latents: Tensor) -> Tensor:
        """[B, z, h, w] -> [B, 3, H, W]."""
        x = self.conv_in(latents)
        for layer in (*self.mid, *self.conv_blocks):
            x = layer(x)
        return self.conv_out(F.silu(self.norm_out(x)))


class LlamaGenVQ(PretrainedModule):
    """LlamaGen's tokenizer; the defaults are VQ-16, (1, 2, 2, 4) as `multipliers` gives VQ-8.

    Args:
        channels: width of the finest level, a multiple of 32 (the norms have 32 groups).
        multipliers: width of each level in units of `channels`; `downsample` is 2 ** (levels - 1).
        decoder_multipliers: the same of the decoder, finest first; `multipliers` when None.
        blocks: residual blocks of an encoder level; a decoder level has one more.
        z_channels: width between the networks and the projections to the code width.
        codebook_size: number K of codes.
        code_dim: width of a code.
        cosine: L2-normalise latents and codes.
        commitment: weight of the commitment term.
        entropy: weight of the entropy term.
        usage_window: latest ids over which `usage` counts the codes in use while training; 0 for none.

    Raises:
        UserError: `channels` is no multiple of 32, or the networks have different numbers of levels.
    """

    def __init__(
        self,
        channels: int = 128,
        multipliers: tuple[int, ...] = (1, 1, 2, 2, 4),
        decoder_multipliers: tuple[int, ...] | None = None,
        blocks: int = 2,
        z_channels: int = 256,
        codebook_size: int = 16384,
        code_dim: int = 8,
        cosine: bool = True,
        commitment: float = 0.25,
        entropy: float = 0.0,
        usage_window: int = 65536,
    ) -> None:
        super().__init__()
        back = decoder_multipliers or multipliers
        if channels % GROUPS:
            raise UserError(f"channels={channels} must be a multiple of {GROUPS}: the norms have {GROUPS} groups")
        if len(back) != len(multipliers):
            raise UserError(
                f"decoder_multipliers {back} must have as many levels as multipliers {multipliers}, "
                "or images come back in another size"
            )
        self.codebook_size = codebook_size
        self.downsample = 2 ** (len(multipliers) - 1)
        self.encoder = LlamaGenEncoder(channels, multipliers, blocks, z_channels)
        self.decoder = LlamaGenDecoder(channels, back, blocks, z_channels)
        self.quantize = GradientCodebook(
            code_dim, codebook_size, cosine=cosine, commitment=commitment, entropy=entropy, window=usage_window
        )
        if cosine:
            with torch.no_grad():
                # codes start at length 1, like the latents
                self.quantize.embedding.weight.copy_(self.quantize.entries())
        self.quant_conv = nn.Conv2d(z_channels, code_dim, 1)
        self.post_quant_conv = nn.Conv2d(code_dim, z_channels, 1)
        self.to(memory_format=torch.channels_last)

    @property
    def last_layer(self) -> Tensor:
        """Weight of the last convolution, where the adaptive GAN weight is measured."""
        return self.decoder.conv_out.weight

    def encode(self, images: Tensor) -> Codes:
        """[B, 3, H, W] in [0, 1] to codes with ids [B, H / downsample, W / downsample]."""
        check_images(images, self.downsample)
        pixels = (images * 2 - 1).contiguous(memory_format=torch.channels_last)
        return self.quantize(self.quant_conv(self.encoder(pixels)))

    def decode(self, codes: Codes | Tensor) -> Tensor:
        """Codes, latents or ids [B, h, w] to images [B, 3, H, W], clipped to [0, 1]."""
        return self.reconstruct(latents_of(codes, self, self.quantize.dim)).clamp(0, 1)

    def reconstruct(self, latents: Tensor) -> Tensor:
        """[B, D, h, w] to images before clipping, so that a loss has gradients everywhere."""
        return (self.decoder(self.post_quant_conv(latents)) + 1) / 2

    def lookup(self, indices: Tensor) -> Tensor:
        """Ids [B, h, w] to latents [B, D, h, w]."""
        return self.quantize.lookup(indices)

    def forward(self, images: Tensor) -> tuple[Tensor, Codes]:
        """Images to (unclipped reconstruction [B, 3, H, W], codes); the training path."""
        codes = self.encode(images)
        return self.reconstruct(codes.latents), codes
