"""VQ-KD: the tokenizer of BEiT v2, whose codes describe what a teacher sees and not pixels."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mimgen.encoders.beit import BeitEncoder, Relative
from mimgen.layers.blocks.beit import initialise
from mimgen.pretrained import PretrainedModule
from mimgen.tokenizers.contract import check_images, latents_of
from mimgen.tokenizers.vqkd.codebook import NormalisedCodebook
from mimgen.types import Codes


class VqKd(PretrainedModule):
    """Images to codes, and codes to a teacher's patch features (BEiT v2, arXiv 2208.06366, section 2.1).

    A `ImageQuantizer`: it has no images to give back. Parameter names are those of the official release.

    Args:
        pixels: side of the images.
        patch: side of a patch, one code each.
        width: D of the encoder.
        depth: blocks of the encoder.
        heads: attention heads of the encoder.
        decoder_width: D of the decoder, the encoder's when None.
        decoder_depth: blocks of the decoder; a deep one lets the codebook collapse.
        decoder_heads: attention heads of the decoder, the encoder's when None.
        mlp_ratio: hidden width of the encoder's MLPs over D.
        decoder_mlp_ratio: the same of the decoder, the encoder's when None.
        layer_scale: start of the encoder's layer scale; None or 0 for none.
        decoder_layer_scale: the same of the decoder.
        qkv_bias: biases on the encoder's q and v.
        decoder_qkv_bias: the same of the decoder.
        absolute: learned absolute positions in the encoder.
        decoder_absolute: the same in the decoder.
        relative: relative positions of the encoder: "none", "shared" or "block".
        decoder_relative: the same of the decoder.
        codebook_size: number K of codes.
        code_dim: width of a code.
        feature_dim: width of the teacher's features.
        decay: of the codebook's moving average.
        commitment: weight of mean (z_q - z)^2.
        kmeans: start the codebook from k-means over the first training batch.
    """

    def __init__(
        self,
        pixels: int = 224,
        patch: int = 16,
        width: int = 768,
        depth: int = 12,
        heads: int = 12,
        decoder_width: int | None = None,
        decoder_depth: int = 3,
        decoder_heads: int | None = None,
        mlp_ratio: float = 4.0,
        decoder_mlp_ratio: float | None = None,
        layer_scale: float | None = None,
        decoder_layer_scale: float | None = None,
        qkv_bias: bool = True,
        decoder_qkv_bias: bool = True,
        absolute: bool = True,
        decoder_absolute: bool = True,
        relative: Relative = "none",
        decoder_relative: Relative = "none",
        codebook_size: int = 8192,
        code_dim: int = 32,
        feature_dim: int = 512,
        decay: float = 0.99,
        commitment: float = 1.0,
        kmeans: bool = True,
    ) -> None:
        super().__init__()
        half = (0.5,) * 3  # images in [-1, 1], not ImageNet's normalisation
        inner = decoder_width or width
        self.downsample, self.codebook_size, self.feature_dim = patch, codebook_size, feature_dim
        self.encoder = BeitEncoder(
            pixels, patch, width, depth, heads, mlp_ratio, layer_scale, absolute, relative, qkv_bias,
            norm="fc_norm", mean=half, std=half,
        )  # fmt: skip
        self.decoder = BeitEncoder(
            # codes are its pixels
            pixels // patch, 1, inner, decoder_depth, decoder_heads or heads, decoder_mlp_ratio or mlp_ratio,
            decoder_layer_scale, decoder_absolute, decoder_relative, decoder_qkv_bias,
            norm="fc_norm", channels=code_dim,
        )  # fmt: skip
        self.quantize = NormalisedCodebook(
            codebook_size, code_dim, decay=decay, commitment=commitment, kmeans=kmeans
        )
        self.encode_task_layer = _head(width, code_dim)
        self.decode_task_layer = _head(inner, feature_dim)

    def encode(self, images: Tensor) -> Codes:
        """[B, 3, H, W] in [0, 1] to codes with ids [B, H / patch, W / patch]; latents are unit vectors."""
        return self.quantize(self.latents(images))

    def latents(self, images: Tensor) -> Tensor:
        """[B, 3, H, W] in [0, 1] to the vectors [B, code width, h, w] that are quantised."""
        check_images(images, self.downsample)
        tokens = self.encoder(images)
        return self.encode_task_layer(tokens.patches).transpose(1, 2).unflatten(2, tokens.grid)

    def lookup(self, indices: Tensor) -> Tensor:
        """Ids [B, h, w] to unit codes [B, code width, h, w]."""
        return self.quantize.lookup(indices)

    def features(self, codes: Codes | Tensor) -> Tensor:
        """Codes, latents [B, code width, h, w] or ids [B, h, w] to features [B, N, feature width]."""
        states, _ = self.decoder.states(latents_of(codes, self, self.quantize.dim))
        # without the decoder's class token: [B, N, feature width]
        return self.decode_task_layer(self.decoder.closed(states[:, 1:]))

    def forward(self, images: Tensor) -> tuple[Tensor, Codes]:
        """Images to (features [B, N, feature width], codes); the training path."""
        codes = self.encode(images)
        return self.features(codes), codes


def _head(width: int, out: int) -> nn.Sequential:
    """Linear, Tanh, linear: [B, N, width] -> [B, N, out]."""
    head = nn.Sequential(nn.Linear(width, width), nn.Tanh(), nn.Linear(width, out))
    with torch.no_grad():
        initialise(head)
    return head
