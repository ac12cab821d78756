"""A2MIM: masked modelling for any architecture, in pixels and frequencies (arXiv 2205.13943).

Masked: random squares. In their place: the image's own mean colour at the input, and a token that is added
in the middle of the network. Looks: a CNN, or a ViT that sees the whole grid. Targets: the pixels. Loss:
(focal) absolute error of masked pixels + focal distance of the spectra, the visible part filled in.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from mimgen.decoders.mae import LinearDecoder
from mimgen.errors import UserError
from mimgen.masking.random import Random
from mimgen.methods.a2mim.target import Criterion, FrequencyDistance, spatial_distance
from mimgen.methods.base import Masking
from mimgen.training import Trainable
from mimgen.types import Batch, Losses, Mask, Tokens


class TokenInside(Protocol):
    """An encoder with a mask token of its own.

    Attributes:
        patch: side in pixels of an output token.
        mask_patch: side in pixels of the cells that are masked.
        mean: [C, 1, 1], taken off images in [0, 1].
        std: [C, 1, 1], by which they are then divided.
    """

    patch: int
    mask_patch: int
    mean: Tensor
    std: Tensor

    def __call__(self, images: Tensor, mask: Mask | None = None, /) -> Tokens:
        """[B, C, H, W] in [0, 1] to the tokens of the whole grid."""
        ...


class A2MIM(Trainable):
    """Objective: spatial distance + frequency_weight * distance of the spectra (A2MIM, equation 6).

    Args:
        encoder: `ResNetEncoder`, `VitEncoder` with mask_token="add"; what is kept afterwards.
        decoder: from its tokens to images.
        masking: of the grid of cells of `encoder.mask_patch` pixels; squares of 32 pixels in the paper.
        criterion: of masked pixels; focal for CNNs, plain for ViTs.
        frequency: distance of the spectra.
        frequency_weight: 0.5 for CNNs, 0.1 for ViTs; 0 leaves the spectra out.
        visible_weight: of visible pixels in the spatial distance.
        mean_fill: show masked pixels as the image's mean colour; otherwise as zeros after normalisation.

    Raises:
        UserError: a decoder for tokens of another size.
    """

    def __init__(
        self,
        encoder: TokenInside,
        decoder: LinearDecoder,
        masking: Masking | None = None,
        *,
        criterion: Criterion | None = None,
        frequency: FrequencyDistance | None = None,
        frequency_weight: float = 0.5,
        visible_weight: float = 0.0,
        mean_fill: bool = True,
    ) -> None:
        super().__init__()
        if decoder.stride != encoder.patch:
            raise UserError(f"the encoder's tokens have {encoder.patch} pixels: build the decoder with that stride")
        self.encoder, self.decoder = encoder, decoder
        self.masking = masking or Random(0.6, max(1, 32 // encoder.mask_patch))
        self.criterion, self.frequency = criterion or Criterion(focal=True), frequency or FrequencyDistance()
        self.frequency_weight, self.visible_weight = frequency_weight, visible_weight
        self.mean_fill = mean_fill

    def forward(self, batch: Batch) -> Losses:
        """Terms "spatial", and "frequency" unless its weight is 0."""
        height, width = (side // self.encoder.mask_patch for side in batch.images.shape[-2:])
        mask = self.masking((height, width), batch.rng)
        return self.losses(batch.images, Mask(mask.masked.to(batch.images.device)))

    def losses(self, images: Tensor, mask: Mask) -> Losses:
        """The losses of images [B, C, H, W] in [0, 1] for a chosen mask."""
        return self.compute_losses(images, self.reconstruct(self.corrupt(images, mask), mask), mask)

    def corrupt(self, images: Tensor, mask: Mask) -> Tensor:
        """What the encoder is shown [B, C, H, W]: masked pixels have their image's mean, of visible ones too."""
        # normalising is linear, so the mean may be taken before it
        colour = images.mean((2, 3), keepdim=True) if self.mean_fill else self.encoder.mean.expand_as(images)
        return torch.where(self.pixels(mask, images), colour, images)

    def reconstruct(self, corrupted: Tensor, mask: Mask) -> Tensor:
        """The reconstruction [B, C, H, W], in the normalised units of the encoder."""
        return self.decoder.images(self.encoder(corrupted, mask))

    def compute_losses(self, images: Tensor, reconstructed: Tensor, mask: Mask) -> Losses:
        """The losses of a reconstruction.

        Args:
            images: [B, C, H, W] in [0, 1].
            reconstructed: [B, C, H, W], normalised.
            mask: the one it was made with.
        """
        true, reconstructed = (images.float() - self.encoder.mean) / self.encoder.std, reconstructed.float()
        masked = self.pixels(mask, images).float()
        weight = masked + (1 - masked) * self.visible_weight
        terms = {"spatial": spatial_distance(self.criterion, reconstructed, true, weight)}
        if self.frequency_weight:
            terms["frequency"] = self.frequency(self.criterion, reconstructed, true, masked)
        return Losses(terms, {"frequency": self.frequency_weight})

    def pixels(self, mask: Mask, images: Tensor) -> Tensor:
        """[B, 1, H, W] boolean: the masked pixels of images [B, C, H, W].

        Raises:
            UserError: sides that are no multiples of the cell's.
        """
        patch = self.encoder.mask_patch
        if images.shape[2] % patch or images.shape[3] % patch:
            raise UserError(
                f"images of {images.shape[3]} x {images.shape[2]} do not divide into cells of {patch} pixels: resize "
                f"or crop to multiples of {self.encoder.patch}"
            )
        cells = mask.masked.to(images.device).unflatten(1, (images.shape[2] // patch, images.shape[3] // patch))
        return cells.repeat_interleave(patch, 1).repeat_interleave(patch, 2)[:, None]
