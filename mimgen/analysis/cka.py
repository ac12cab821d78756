"""Centred kernel alignment: do two layers tell the same images apart?"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mimgen.errors import UserError

__all__ = ["MinibatchCka", "linear_cka", "unbiased_hsic"]


def linear_cka(x: Tensor, y: Tensor) -> Tensor:
    """Linear CKA of all points at once (Kornblith et al., 2019, equation 3 with linear kernels).

    Args:
        x: [n, F], one row an image.
        y: [n, G], the same images.

    Returns:
        One float64 number in [0, 1]; biased upwards where n is not much larger than F and G; NaN where x or y
        is constant.

    Raises:
        UserError: other numbers of rows, or fewer than two.
    """
    if x.ndim != 2 or y.ndim != 2 or len(x) != len(y) or len(x) < 2:
        raise UserError(
            f"CKA compares rows of the same images, two or more; got {list(x.shape)} and {list(y.shape)}"
        )
    x, y = _centred(x.double()), _centred(y.double())
    shared = _cross(x, y)
    return shared / (_cross(x, x) * _cross(y, y)).sqrt()


def unbiased_hsic(left: Tensor, right: Tensor) -> Tensor:
    """Unbiased estimate of HSIC for every pair of Gram matrices (Song et al., 2012, equation 5).

    Args:
        left: [L, b, b] Gram matrices of b images, b >= 4.
        right: [M, b, b] of the same images.

    Returns:
        [L, M] float64; may be slightly negative where there is no dependence.

    Raises:
        UserError: fewer than four images.
    """
    count = left.shape[-1]
    if count < 4:
        raise UserError(f"the unbiased estimate needs 4 images at a time, got {count}")
    left, right = (_hollow(grams) for grams in (left, right))
    trace = torch.einsum("lij,mij->lm", left, right)  # [L, M] traces of products of symmetric matrices
    left_rows, right_rows = left.sum(-1), right.sum(-1)  # [L, b] and [M, b]
    sums = left_rows.sum(-1)[:, None] * right_rows.sum(-1) / ((count - 1) * (count - 2))  # [L, M]
    rows = 2 / (count - 2) * left_rows @ right_rows.T  # [L, M]
    return (trace + sums - rows) / (count * (count - 3))


class MinibatchCka:
    """Linear CKA between all layers of two encoders, batch by batch (Nguyen et al., 2021, equation 3).

    The unbiased HSIC of every batch is added up, so that the result does not depend on the batch size in
    expectation and only b x b matrices are kept.
    """

    def __init__(self) -> None:
        self._shared: Tensor | None = None
        self._left: Tensor | None = None
        self._right: Tensor | None = None

    def add(self, left: Sequence[Tensor], right: Sequence[Tensor]) -> None:
        """One batch: the layers [b, ...] of one encoder and those of the other, for the same images."""
        grams, others = _grams(left), _grams(right)
        if grams.shape[-1] != others.shape[-1]:
            raise UserError(f"{grams.shape[-1]} and {others.shape[-1]} images: both encoders must see the same")
        shared = unbiased_hsic(grams, others)
        own, other = unbiased_hsic(grams, grams).diagonal(), unbiased_hsic(others, others).diagonal()
        # sums and not means: their ratio in `value` is that of the averages
        self._shared = shared if self._shared is None else self._shared + shared
        self._left = own if self._left is None else self._left + own
        self._right = other if self._right is None else self._right + other

    def value(self) -> Tensor:
        """[L, M] float64, about 0 to 1; NaN where a layer is constant over the images.

        Raises:
            UserError: nothing was added.
        """
        if self._shared is None or self._left is None or self._right is None:
            raise UserError("no batch was added, so there is nothing to compare: add at least one")
        return self._shared / (self._left.clamp(min=0)[:, None] * self._right.clamp(min=0)).sqrt()


def _cross(x: Tensor, y: Tensor) -> Tensor:
    """|x^T y|^2, through the smaller of the two ways."""
    if len(x) < max(x.shape[1], y.shape[1]):
        return ((x @ x.T) * (y @ y.T)).sum()
    return (x.T @ y).square().sum()


def _grams(layers: Sequence[Tensor]) -> Tensor:
    """[L, b, b]; centring within the batch first changes no estimate and keeps digits."""
    flat = [layer.flatten(1).double() for layer in layers]  # [b, F] each
    return torch.stack([points @ points.T for points in map(_centred, flat)])  # [L, b, b]


def _centred(points: Tensor) -> Tensor:
    """Rows less their mean; exactly zero where they differ by rounding only."""
    centred = points - points.mean(0)
    return centred if centred.norm() > 1e-12 * points.norm() else torch.zeros_like(points)


def _hollow(grams: Tensor) -> Tensor:
    grams = grams.double()
    return grams - torch.diag_embed(grams.diagonal(dim1=-2, dim2=-1))
