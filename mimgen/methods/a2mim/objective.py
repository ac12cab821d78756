"""A2MIM: masked modelling for any architecture, in pixels and frequencies (arXiv 2205.13943)."""

from __future__ import annotations

from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from mimgen.decoders.mae import LinearDecoder
from mimgen.errors import UserError
from mimgen.masking.random import Random
from mimgen.methods.a2mim.target import Criterion, FrequencyDistance, spatial_distance
from mimgen.methods.base import Masking, Objective, grid_of
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


class A2MIM(Objective):
    """Spatial distance + frequency_weight * distance of the spectra (A2MIM, equation 6).

    Random squares are filled with the image's mean colour at the input, and a token is added to them in the middle
    of a CNN or after the embedding of a ViT. The (focal) absolute error of masked pixels is added to a focal
    distance of the spectra, for which the visible part is filled in.

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
        self.mean_fill, self.target = mean_fill, None  # the pixels themselves

    def forward(self, batch: Batch, mask: Mask | None = None) -> Losses:
        """Terms "spatial", and "frequency" unless its weight is 0."""
        mask = self.mask(batch) if mask is None else mask
        return self.compute_losses(batch.images, self.decode(batch.images, mask), mask)

    def mask(self, batch: Batch) -> Mask:
        """The mask [B, N] of the grid of cells that the encoder can mask."""
        return self.masking(grid_of(batch.images, self.encoder.mask_patch), batch.rng).to(batch.images.device)

    def predict(self, batch: Batch, mask: Mask) -> Tensor:
        """[B, N, C cell^2] for every cell of the mask, normalised by the encoder, in the order (C, row, column)."""
        images = self.decode(batch.images, mask)
        return F.pixel_unshuffle(images, self.encoder.mask_patch).flatten(2).transpose(1, 2)

    def reconstruct(self, batch: Batch, mask: Mask) -> Tensor:
        """The prediction as images [B, C, H, W], in the units of the batch."""
        return self.decode(batch.images, mask) * self.encoder.std + self.encoder.mean

    def decode(self, images: Tensor, mask: Mask) -> Tensor:
        """The reconstruction [B, C, H, W] of corrupted images, in the normalised units of the encoder."""
        return self.decoder.images(self.encoder(self.corrupt(images, mask), mask))

    def corrupt(self, images: Tensor, mask: Mask) -> Tensor:
        """What the encoder is given [B, C, H, W]: masked pixels have their image's mean, of visible ones too."""
        # normalising is linear, so the mean may be taken before it
        colour = images.mean((2, 3), keepdim=True) if self.mean_fill else self.encoder.mean.expand_as(images)
        return torch.where(self.pixels(mask, images), colour, images)

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
