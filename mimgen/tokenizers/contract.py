"""What every tokenizer offers: one interface for MIM targets, generators and evaluation."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from mimgen.errors import UserError
from mimgen.types import Codes


@runtime_checkable
class Coder(Protocol):
    """Whatever turns pictures into codes: enough to be a target of masked image modelling.

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
        """Ids [B, h, w] to latents [B, D, h, w]."""
        ...


@runtime_checkable
class Tokenizer(Coder, Protocol):
    """A coder that also gives pictures back, so that generators can draw with it."""

    def decode(self, codes: Codes | Tensor) -> Tensor:
        """Codes, latents [B, D, h, w] or ids [B, h, w] to pictures [B, 3, H, W] in [0, 1]."""
        ...


def check_images(images: Tensor, downsample: int) -> None:
    """Raise a `UserError` unless `images` is [B, 3, H, W] with H and W multiples of `downsample`."""
    if images.ndim != 4 or images.shape[1] != 3:
        raise UserError(
            f"a tokenizer takes pictures [B, 3, H, W], got {list(images.shape)}: convert them to RGB"
        )
    height, width = images.shape[-2:]
    if height % downsample or width % downsample:
        raise UserError(
            f"pictures of {width} x {height} do not divide into tokens of {downsample} pixels: "
            f"resize or crop to multiples of {downsample}"
        )


def latents_of(codes: Codes | Tensor, tokenizer: Coder) -> Tensor:
    """The latents [B, D, h, w] of what `decode` was given."""
    if isinstance(codes, Codes):
        return codes.latents
    if codes.is_floating_point():
        return codes
    if not tokenizer.codebook_size:
        raise UserError("this tokenizer is continuous: decode its latents, it has no codes")
    if codes.numel() and (int(codes.min()) < 0 or int(codes.max()) >= tokenizer.codebook_size):
        raise UserError(
            f"codes must lie in 0..{tokenizer.codebook_size - 1}, "
            f"got {int(codes.min())} to {int(codes.max())}: "
            "were they made by another tokenizer?"
        )
    return tokenizer.lookup(codes.to(torch.long))
