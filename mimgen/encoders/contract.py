"""What an encoder is to probes, analysis and metrics."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from torch import Tensor

from mimgen.types import Tokens

__all__ = ["Encoder"]


@runtime_checkable
class Encoder(Protocol):
    """What can be probed and analysed.

    Attributes:
        dim: width D of a token.
        depth: number of blocks that can be asked for.
        patch: side of a patch in pixels.
    """

    dim: int
    depth: int
    patch: int

    def __call__(self, images: Tensor, /, *, layers: Sequence[int] = ()) -> Tokens:
        """[B, 3, H, W] in [0, 1] -> Tokens with one level for each of `layers`.

        Encoders that can show their attention take `attention=`, a sequence of blocks, too.
        """
