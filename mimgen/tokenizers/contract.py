"""What every tokenizer offers: one interface for MIM targets, generators and evaluation."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from mimgen.errors import UserError
from mimgen.types import Codes


@runtime_checkable
class ImageQuantizer(Protocol):
    """Whatever turns images into codes: enough to be a target of masked image modelling.

    Attributes:
        codebook_size: number of codes K; 0 for a continuous tokenizer.
        downsample: pixels per side of a token.
    """

    codebook_size: int
    downsample: int

    def encode(self, images: Tensor) -> Codes:
        """[B, 3, H, W] in [0, 1] to codes on a grid of H / downsample by W / downsample."""
        ...

    def lookup(self, indices: Tensor) -> Tensor:
        """Ids [B, h, w] to latents [B, D, h, w]; a `UserError` for ids out of range, see `check_ids`."""
        ...


@runtime_checkable
class Tokenizer(ImageQuantizer, Protocol):
    """A coder that also gives images back, so that generators can sample with it."""

    def decode(self, codes: Codes | Tensor) -> Tensor:
        """Codes, latents [B, D, h, w] or ids [B, h, w] to images [B, 3, H, W] in [0, 1]."""
        ...


def check_images(images: Tensor, downsample: int) -> None:
    """Raise a `UserError` unless `images` is [B, 3, H, W] with H and W multiples of `downsample`."""
    if images.ndim != 4 or images.shape[1] != 3:
        raise UserError(
            f"a tokenizer takes images [B, 3, H, W], got {list(images.shape)}: convert them to RGB"
        )
    height, width = images.shape[-2:]
    if height % downsample or width % downsample:
        raise UserError(
            f"images of {width} x {height} do not divide into tokens of {downsample} pixels: "
            f"resize or crop to multiples of {downsample}"
        )


def check_ids(indices: Tensor, codebook_size: int) -> None:
    """Raise a `UserError` unless every id is an integer in 0..K-1."""
    if indices.is_floating_point():
        raise UserError(f"token ids must be integers, got {indices.dtype}: pass `codes.indices`")
    if not indices.numel():
        return
    low, high = (int(bound) for bound in indices.aminmax())
    if low < 0 or high >= codebook_size:
        raise UserError(
            f"codes must lie in 0..{codebook_size - 1}, got {low} to {high}: were they made by another tokenizer?"
        )


def latents_of(codes: Codes | Tensor, tokenizer: ImageQuantizer, width: int | None = None) -> Tensor:
    """The latents [B, D, h, w] of what `decode` was given.

    Args:
        codes: codes, latents [B, D, h, w] or ids [B, h, w].
        tokenizer: who looks ids up.
        width: D that its decoder reads; None leaves the check to the caller.

    Raises:
        UserError: ids out of range or not [B, h, w], ids for a continuous tokenizer, or latents of another
            width.
    """
    if isinstance(codes, Codes) or codes.is_floating_point():
        latents = codes.latents if isinstance(codes, Codes) else codes
    else:
        if not tokenizer.codebook_size:
            raise UserError("this tokenizer is continuous: decode its latents, it has no codes")
        if codes.ndim != 3:
            raise UserError(f"ids must be [B, h, w], got {list(codes.shape)}: lay them out on their grid")
        latents = tokenizer.lookup(codes.to(torch.long))
    if width is not None and (latents.ndim != 4 or latents.shape[1] != width):
        raise UserError(
            f"this tokenizer has latents [B, {width}, h, w], got {list(latents.shape)}: "
            "were they made by another tokenizer?"
        )
    return latents
