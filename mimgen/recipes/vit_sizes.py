"""The parts that most configs of masked image modelling share: a plain encoder and a decoder in MAE's manner."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from mimgen.encoders.vit import VitEncoder, mae_vit

Side = int | tuple[int, int]
Decoder = TypeVar("Decoder")


@dataclass(frozen=True, kw_only=True)
class MaeShape:
    """Numbers of a network like MAE's.

    Attributes:
        pixels: side of the images.
        patch: side of a patch in pixels.
        width: of the encoder.
        depth: its blocks.
        heads: its attention heads.
        decoder_width: of the decoder.
        decoder_depth: its blocks.
        decoder_heads: its attention heads.
    """

    pixels: int
    patch: int
    width: int
    depth: int
    heads: int
    decoder_width: int
    decoder_depth: int
    decoder_heads: int


@dataclass(frozen=True, kw_only=True)
class MaeSize(MaeShape):
    """Numbers of one size of such a network, and of its training.

    Attributes:
        batch: images per step.
        base_lr: learning rate for 256 images.
        warmup: steps of warm-up.
        steps: optimiser steps.
    """

    batch: int
    base_lr: float
    warmup: int
    steps: int


class Encoding(Protocol):
    """What a size says of a plain encoder; see `MaeSize`."""

    @property
    def patch(self) -> int: ...

    @property
    def width(self) -> int: ...

    @property
    def depth(self) -> int: ...

    @property
    def heads(self) -> int: ...


class Decoding(Protocol):
    """What a size says of a decoder behind it; see `MaeSize`."""

    @property
    def patch(self) -> int: ...

    @property
    def width(self) -> int: ...

    @property
    def decoder_width(self) -> int: ...

    @property
    def decoder_depth(self) -> int: ...

    @property
    def decoder_heads(self) -> int: ...


def vit_of(size: Encoding, side: Side) -> VitEncoder:
    """A fresh encoder as MAE starts it, for images of `side` pixels."""
    return mae_vit(image_size=side, patch=size.patch, width=size.width, depth=size.depth, heads=size.heads)


def decoder_of(kind: Callable[..., Decoder], size: Decoding, side: Side) -> Decoder:
    """A fresh decoder of a `kind` whose first arguments are `MaeDecoder`'s, for images of `side` pixels."""
    return kind(side, size.patch, size.width, size.decoder_width, size.decoder_depth, size.decoder_heads)
