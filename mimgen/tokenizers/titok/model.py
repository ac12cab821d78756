"""TiTok: an image as a short row of tokens (Yu et al., 2024, arXiv 2406.07550).

Learnt latent tokens watch the patches of an image in a transformer and are all that is kept; a second
transformer rebuilds the patches from them. So tokens have an order and no place: the grid is 1 x T.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

from mimgen.errors import UserError
from mimgen.pretrained import PretrainedModule
from mimgen.tokenizers.contract import check_images, latents_of
from mimgen.tokenizers.titok.blocks import TiTokDecoder, TiTokEncoder
from mimgen.tokenizers.titok.latents import Bottleneck, quantizer_of
from mimgen.types import Codes, SampleRNG


class TiTokBase(PretrainedModule):
    """Encoder, latent tokens and quantiser; see `TiTok` for the arguments."""

    # nn.Module types its members as Tensor | Module; any quantiser of this package, or `Bottleneck`
    quantize: Any

    def _encoder(
        self,
        image_size: int,
        tokens: int,
        patch: int,
        encoder: tuple[int, int, int],
        quantize: nn.Module,
        reshaped: bool,
    ) -> None:
        if image_size % patch:
            raise UserError(f"image_size {image_size} does not divide into patches of {patch} pixels")
        if tokens < 1:
            raise UserError(f"tokens={tokens}: an image needs at least 1 token")
        width, depth, heads = encoder
        self.image_size, self.downsample, self.grid = image_size, patch, (1, tokens)
        self.quantize = quantize
        self.codebook_size = int(self.quantize.codebook_size)
        moments = 2 if isinstance(quantize, Bottleneck) else 1  # mean and log variance
        self.latent_tokens = nn.Parameter(width**-0.5 * torch.randn(tokens, width))
        self.encoder = TiTokEncoder(
            patch,
            moments * self.quantize.dim,
            reshaped,
            width=width,
            depth=depth,
            heads=heads,
            cells=(image_size // patch) ** 2,
            tokens=tokens,
        )

    def hidden(self, images: Tensor) -> Tensor:
        """[B, 3, S, S] in [0, 1] to what the quantiser gets, [B, C, 1, T] (twice C for "kl")."""
        check_images(images, self.downsample)
        if images.shape[-2:] != (self.image_size, self.image_size):
            height, width = images.shape[-2:]
            raise UserError(
                f"this TiTok has positions for images of {self.image_size} x {self.image_size}, "
                f"got {width} x {height}: resize or crop them"
            )
        return self.encoder(images, self.latent_tokens)

    def encode(self, images: Tensor, rng: SampleRNG | None = None) -> Codes:
        """[B, 3, S, S] in [0, 1] to codes with ids [B, 1, T].

        Args:
            images: images of the one size that the positions are made for.
            rng: "kl" only: noise for a sample of the posterior; without it the latents are its mean.
        """
        hidden = self.hidden(images)
        if rng is None or self.codebook_size:
            return self.quantize(hidden)
        noise = rng.normal(self.quantize.dim, *self.grid)  # [B, C, 1, T]
        return self.quantize(hidden, noise.to(hidden))

    def lookup(self, indices: Tensor) -> Tensor:
        """Ids [B, 1, T] to latents [B, D, 1, T]."""
        if self.codebook_size and tuple(indices.shape[1:]) != self.grid:
            raise UserError(
                f"this TiTok has ids [B, 1, {self.grid[1]}], got {list(indices.shape)}: "
                "were they made by another tokenizer?"
            )
        return self.quantize.lookup(indices)

    def latents(self, codes: Codes | Tensor) -> Tensor:
        """Codes, latents or ids [B, 1, T] to latents [B, D, 1, T]; a `UserError` where they are not of this shape."""
        latents = latents_of(codes, self)
        if tuple(latents.shape[1:]) != (self.quantize.dim, *self.grid):
            raise UserError(
                f"this TiTok has latents [B, {self.quantize.dim}, 1, {self.grid[1]}], got {list(latents.shape)}: "
                "were they made by another tokenizer?"
            )
        return latents


class TiTok(TiTokBase):
    """TiTok that paints pixels itself (the newer releases, as in TA-TiTok); trained by `Reconstruction`.

    Args:
        image_size: side of the images; the positions fit no other.
        tokens: latent tokens T an image.
        patch: pixels a side of an encoder patch.
        decoder_patch: of a decoder patch; `patch` when None.
        encoder: width, depth and heads.
        decoder: width, depth and heads; those of the encoder when None.
        quantizer: "vq" (codes moved by gradients, as released), "ema" (codes moved by averages, with k-means
            start and revival), "lfq" (2 ** token_size codes), "fsq" or "kl" (continuous).
        codebook_size: number K of codes for "vq" and "ema".
        token_size: width of a latent; for "fsq" it is the number of `levels`.
        levels: of "fsq".
        cosine: "vq" and "ema" with L2-normalised latents and codes.
        commitment: weight of the commitment term of "vq" and "ema".
        kl: weight of the divergence of "kl", a mean over tokens.
        reshaped: the oversight of the first releases; see `TiTokEncoder`.

    Raises:
        UserError: sizes that do not divide, or an unknown quantiser.
    """

    def __init__(
        self,
        image_size: int = 256,
        tokens: int = 64,
        patch: int = 16,
        decoder_patch: int | None = None,
        encoder: tuple[int, int, int] = (768, 12, 12),
        decoder: tuple[int, int, int] | None = None,
        quantizer: str = "vq",
        codebook_size: int = 8192,
        token_size: int = 64,
        levels: tuple[int, ...] = (8, 8, 8, 5, 5, 5),
        cosine: bool = True,
        commitment: float = 0.25,
        kl: float = 1e-6,
        reshaped: bool = False,
    ) -> None:
        super().__init__()
        self.stochastic = quantizer == "kl"
        quantize = quantizer_of(quantizer, token_size, codebook_size, levels, cosine, commitment, kl)
        self._encoder(image_size, tokens, patch, encoder, quantize, reshaped)
        self.decoder = decoder_of(self, decoder_patch or patch, decoder or encoder, classes=0)

    @property
    def last_layer(self) -> Tensor:
        """Weight of the last convolution, where the adaptive GAN weight is measured."""
        return cast(Tensor, self.decoder.conv_out.weight)

    def decode(self, codes: Codes | Tensor) -> Tensor:
        """Codes, latents or ids [B, 1, T] to images [B, 3, S, S], clipped to [0, 1]."""
        return self.reconstruct(self.latents(codes)).clamp(0, 1)

    def reconstruct(self, latents: Tensor) -> Tensor:
        """[B, D, 1, T] to images before clipping, so that a loss has gradients everywhere."""
        return self.decoder(latents)

    def forward(self, images: Tensor, rng: SampleRNG | None = None) -> tuple[Tensor, Codes]:
        """Images to (unclipped reconstruction [B, 3, S, S], codes); the training path. For `rng` see `encode`."""
        codes = self.encode(images, rng)
        return self.reconstruct(codes.latents), codes


def decoder_of(part: TiTokBase, patch: int, sizes: tuple[int, int, int], classes: int) -> TiTokDecoder:
    """The decoder of `part`; it predicts codes where `classes` is not 0."""
    if part.image_size % patch:
        raise UserError(f"image_size {part.image_size} does not divide into decoder patches of {patch} pixels")
    width, depth, heads = sizes
    return TiTokDecoder(
        patch,
        part.quantize.dim,
        "codes" if classes else "pixels",
        classes,
        width=width,
        depth=depth,
        heads=heads,
        cells=(part.image_size // patch) ** 2,
        tokens=part.grid[1],
    )
