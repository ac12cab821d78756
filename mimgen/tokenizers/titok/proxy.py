"""TiTok as its paper has it: first predict the codes of another tokenizer, then paint from them."""

from __future__ import annotations

from typing import Self

import torch
from torch import Tensor

from mimgen.errors import UserError
from mimgen.pretrained import load_strictly
from mimgen.tokenizers.codebook import GradientCodebook
from mimgen.tokenizers.titok.latents import quantizer_of
from mimgen.tokenizers.titok.model import TiTokBase, decoder_of
from mimgen.tokenizers.titok.pixels import PixelDecoder
from mimgen.types import Codes


class TiTokProxy(TiTokBase):
    """TiTok that predicts the codes of another tokenizer (stage 1 of the paper); trained by `ProxyCodes`.

    It is a coder and samples no images: `predict` gives codes that the other tokenizer decodes.

    Args:
        classes: number of codes of the other tokenizer (MaskGIT-VQGAN: 1024).
        reshaped: the oversight of the first releases, whose weights depend on it; see `TiTokEncoder`.
        image_size, tokens, patch, decoder_patch, encoder, decoder, quantizer, codebook_size, token_size,
            levels, cosine, commitment: see `TiTok`. `decoder_patch` is the other's pixels per token.
    """

    def __init__(
        self,
        image_size: int = 256,
        tokens: int = 32,
        patch: int = 16,
        decoder_patch: int | None = None,
        encoder: tuple[int, int, int] = (1024, 24, 16),
        decoder: tuple[int, int, int] | None = None,
        quantizer: str = "vq",
        codebook_size: int = 4096,
        token_size: int = 12,
        levels: tuple[int, ...] = (8, 8, 8, 8),
        cosine: bool = True,
        commitment: float = 0.25,
        classes: int = 1024,
        reshaped: bool = False,
    ) -> None:
        super().__init__()
        quantize = quantizer_of(quantizer, token_size, codebook_size, levels, cosine, commitment, 0.0)
        self._encoder(image_size, tokens, patch, encoder, quantize, reshaped)
        self.decoder = decoder_of(self, decoder_patch or patch, decoder or encoder, classes)
        self.classes = classes

    def logits(self, latents: Tensor) -> Tensor:
        """[B, D, 1, T] to logits [B, K, g, g] of the other tokenizer's codes."""
        return self.decoder(latents)

    def predict(self, codes: Codes | Tensor) -> Tensor:
        """Codes, latents or ids [B, 1, T] to the other tokenizer's most likely ids [B, g, g] int64."""
        return self.logits(self.latents(codes)).argmax(1)


class TiTokLegacy(TiTokProxy):
    """The first releases: predicted codes, softly looked up, go through the decoder of MaskGIT's VQGAN.

    That is stage 2 of the paper: encoder, codes and latent tokens are frozen, `Reconstruction` trains the rest.

    Args:
        pixel_width: width of a code of the VQGAN.
        pixel_channels: width of its finest level, a multiple of 32.
        pixel_multipliers: widths of its levels in units of `pixel_channels`.
        pixel_blocks: residual blocks of a level.
        image_size, tokens, patch, encoder, decoder, quantizer, codebook_size, token_size, levels, cosine,
            commitment, classes, reshaped: see `TiTokProxy`.

    Raises:
        UserError: the VQGAN does not turn a code into `patch` pixels.
    """

    def __init__(
        self,
        image_size: int = 256,
        tokens: int = 32,
        patch: int = 16,
        encoder: tuple[int, int, int] = (1024, 24, 16),
        decoder: tuple[int, int, int] | None = None,
        quantizer: str = "vq",
        codebook_size: int = 4096,
        token_size: int = 12,
        levels: tuple[int, ...] = (8, 8, 8, 8),
        cosine: bool = True,
        commitment: float = 0.25,
        classes: int = 1024,
        reshaped: bool = True,
        pixel_width: int = 256,
        pixel_channels: int = 128,
        pixel_multipliers: tuple[int, ...] = (1, 1, 2, 2, 4),
        pixel_blocks: int = 2,
    ) -> None:
        super().__init__(
            image_size=image_size,
            tokens=tokens,
            patch=patch,
            encoder=encoder,
            decoder=decoder,
            quantizer=quantizer,
            codebook_size=codebook_size,
            token_size=token_size,
            levels=levels,
            cosine=cosine,
            commitment=commitment,
            classes=classes,
            reshaped=reshaped,
        )
        if 2 ** (len(pixel_multipliers) - 1) != patch:
            raise UserError(
                f"pixel_multipliers {pixel_multipliers} make {2 ** (len(pixel_multipliers) - 1)} pixels of a "
                f"code, but patch is {patch}: give one level for each halving and one more"
            )
        self.pixel_quantize = GradientCodebook(pixel_width, classes, cosine=False)
        self.pixel_decoder = PixelDecoder(pixel_channels, pixel_multipliers, pixel_blocks, pixel_width)
        self.encoder.requires_grad_(False)
        self.quantize.requires_grad_(False)
        self.latent_tokens.requires_grad_(False)

    def train(self, mode: bool = True) -> Self:
        """As usual, but the frozen quantiser stays in evaluation mode: averaged codes would move on."""
        super().train(mode)
        self.quantize.eval()
        return self

    @classmethod
    def from_proxy(
        cls,
        proxy: TiTokProxy,
        *,
        codes: Tensor | None = None,
        pixel_channels: int = 128,
        pixel_multipliers: tuple[int, ...] = (1, 1, 2, 2, 4),
        pixel_blocks: int = 2,
    ) -> Self:
        """Begin stage 2 from a trained stage 1; the painting decoder starts with fresh weights.

        Args:
            proxy: the tokenizer of stage 1.
            codes: [K, z] codebook of its teacher, to start from; random codes of width 256 when None.
            pixel_channels: see the class.
            pixel_multipliers: see the class.
            pixel_blocks: see the class.

        Raises:
            UserError: encoder and decoder of `proxy` have patches of different sizes.
        """
        options = dict(proxy.config)
        patch = options.pop("decoder_patch")
        if patch not in (None, options["patch"]):
            raise UserError(f"stage 2 needs decoder_patch={options['patch']} like the encoder's, got {patch}")
        made = cls(
            **options,
            pixel_width=256 if codes is None else codes.shape[1],
            pixel_channels=pixel_channels,
            pixel_multipliers=pixel_multipliers,
            pixel_blocks=pixel_blocks,
        )
        fresh = {key: value for key, value in made.state_dict().items() if key.startswith("pixel_")}
        if codes is not None:
            fresh["pixel_quantize.embedding.weight"] = codes
        load_strictly(made, {**fresh, **proxy.state_dict()}, "the tokenizer of stage 1")
        return made

    @property
    def last_layer(self) -> Tensor:
        """Weight of the last convolution, where the adaptive GAN weight is measured."""
        return self.pixel_decoder.conv_out.weight

    def decode(self, codes: Codes | Tensor) -> Tensor:
        """Codes, latents or ids [B, 1, T] to images [B, 3, S, S], clipped to [0, 1]."""
        return self.reconstruct(self.latents(codes)).clamp(0, 1)

    def reconstruct(self, latents: Tensor) -> Tensor:
        """[B, D, 1, T] to images before clipping."""
        shares = self.logits(latents).softmax(1)  # [B, K, g, g]
        mixed = torch.einsum("bkhw,kd->bdhw", shares, self.pixel_quantize.embedding.weight)  # [B, D, g, g]
        return self.pixel_decoder(mixed)

    def forward(self, images: Tensor) -> tuple[Tensor, Codes]:
        """Images to (unclipped reconstruction [B, 3, S, S], codes without losses, for they are frozen)."""
        with torch.no_grad():
            codes = self.encode(images)
        return self.reconstruct(codes.latents), Codes(codes.indices, codes.latents)
