"""LlamaGen's VQ tokenizer (Sun et al., 2024, arXiv 2406.06525), under its official key names."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mimgen.errors import UserError
from mimgen.layers.attention import attend
from mimgen.part import Part
from mimgen.tokenizers.codebook import GradientCodebook
from mimgen.tokenizers.contract import check_images, latents_of
from mimgen.types import Codes

GROUPS = 32


def _norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(GROUPS, channels, eps=1e-6)


class ResidualBlock(nn.Module):
    """Norm, SiLU, convolution, twice, plus the input. [B, C, h, w] -> [B, C', h, w]."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = _norm(channels), _norm(out)
        self.conv1 = nn.Conv2d(channels, out, 3, padding=1)
        self.conv2 = nn.Conv2d(out, out, 3, padding=1)
        if channels != out:
            self.nin_shortcut = nn.Conv2d(channels, out, 1)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, h, w] -> [B, C', h, w]."""
        h = self.conv1(F.silu(self.norm1(x)))
        h = self.conv2(F.silu(self.norm2(h)))
        return h + (self.nin_shortcut(x) if hasattr(self, "nin_shortcut") else x)


class MapAttention(nn.Module):
    """One-headed attention between the positions of a map, plus the input. [B, C, h, w] -> [B, C, h, w]."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = _norm(channels)
        self.q, self.k, self.v, self.proj_out = (nn.Conv2d(channels, channels, 1) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, h, w] -> [B, C, h, w]."""
        normed = self.norm(x)
        q, k, v = (layer(normed).flatten(2).transpose(1, 2)[:, :, None] for layer in (self.q, self.k, self.v))
        mixed = attend(q, k, v)[:, :, 0].transpose(1, 2).unflatten(2, x.shape[2:])
        return x + self.proj_out(mixed)


class Downsample(nn.Module):
    """Halve a map by a strided convolution that is padded right and below only."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, h, w] -> [B, C, h / 2, w / 2]."""
        return self.conv(F.pad(x, (0, 1, 0, 1)))


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
        self.res = nn.ModuleList(ResidualBlock(out if i else channels, out) for i in range(blocks))
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
    return nn.ModuleList(
        [ResidualBlock(channels, channels), MapAttention(channels), ResidualBlock(channels, channels)]
    )


class LlamaGenEncoder(nn.Module):
    """Pictures [B, 3, H, W] in [-1, 1] to maps [B, z, h, w]."""

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
        self.norm_out = _norm(width)
        self.conv_out = nn.Conv2d(width, z, 3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        """[B, 3, H, W] -> [B, z, h, w]."""
        x = self.conv_in(images)
        for layer in (*self.conv_blocks, *self.mid):
            x = layer(x)
        return self.conv_out(F.silu(self.norm_out(x)))


class LlamaGenDecoder(nn.Module):
    """Maps [B, z, h, w] to pictures [B, 3, H, W], nominally in [-1, 1]."""

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
        self.norm_out = _norm(width)
        self.conv_out = nn.Conv2d(width, 3, 3, padding=1)

    def forward(self, latents: Tensor) -> Tensor:
        """[B, z, h, w] -> [B, 3, H, W]."""
        x = self.conv_in(latents)
        for layer in (*self.mid, *self.conv_blocks):
            x = layer(x)
        return self.conv_out(F.silu(self.norm_out(x)))


class LlamaGenVQ(Part):
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
                "or pictures come back in another size"
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
        """Codes, latents or ids [B, h, w] to pictures [B, 3, H, W], clipped to [0, 1]."""
        latents = latents_of(codes, self)
        if latents.ndim != 4 or latents.shape[1] != self.quantize.dim:
            raise UserError(
                f"this tokenizer has latents [B, {self.quantize.dim}, h, w], got {list(latents.shape)}: "
                "were they made by another tokenizer?"
            )
        return self.reconstruct(latents).clamp(0, 1)

    def reconstruct(self, latents: Tensor) -> Tensor:
        """[B, D, h, w] to pictures before clipping, so that a loss has gradients everywhere."""
        return (self.decoder(self.post_quant_conv(latents)) + 1) / 2

    def lookup(self, indices: Tensor) -> Tensor:
        """Ids [B, h, w] to latents [B, D, h, w]."""
        return self.quantize.lookup(indices)

    def forward(self, images: Tensor) -> tuple[Tensor, Codes]:
        """Pictures to (unclipped reconstruction [B, 3, H, W], codes); the training path."""
        codes = self.encode(images)
        return self.reconstruct(codes.latents), codes
