"""Targets of masked image modelling: what is predicted for every patch, computed from the intact images."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from torch import Tensor

from mimgen.types import Mask


@runtime_checkable
class Target(Protocol):
    """What is to be predicted for each patch; it never gives a gradient.

    Attributes:
        dim: numbers per head must predict for a patch: the width of a vector, or the number of codes.
        patch: pixels per side of a patch.
    """

    dim: int
    patch: int

    def __call__(self, images: Tensor, mask: Mask | None = None, /) -> Tensor:
        """Images [B, 3, H, W] in [0, 1] to vectors [B, N, D] or ids [B, N], row-major."""
        ...

    def loss(self, predicted: Tensor, goal: Tensor, /) -> Tensor:
        """The target's natural distance of predictions [M, D] to goals [M, D] or ids [M]; [M]."""
        ...
