"""How far a drawn picture is from the true one, pixel by pixel and frequency by frequency (A2MIM, section 4.3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from mimgen.errors import UserError
from mimgen.ops.distributed import mean_over_ranks

Fill = Literal["true", "drawn", "mean", "mixed"]


@dataclass(frozen=True)
class Criterion:
    """Distance of single numbers, real or complex.

    Focal: a (2 sigmoid(sharpness a) - 1)^power for the distance a, so that large errors weigh more.

    Attributes:
        distance: "absolute" or "squared".
        focal: whether errors are weighed by themselves.
        sharpness: how soon the weight rises.
        power: exponent of the weight.
        activation: "sigmoid" as above, or "tanh" in its place.
        residual: add the distance itself to the focal one.

    Raises:
        UserError: an unknown distance or activation.
    """

    distance: Literal["absolute", "squared"] = "absolute"
    focal: bool = False
    sharpness: float = 0.2
    power: float = 1.0
    activation: Literal["sigmoid", "tanh"] = "sigmoid"
    residual: bool = False

    def __post_init__(self) -> None:
        if self.distance not in ("absolute", "squared"):
            raise UserError(f'distance {self.distance!r} is unknown: choose "absolute" or "squared"')
        if self.activation not in ("sigmoid", "tanh"):
            raise UserError(f'activation {self.activation!r} is unknown: choose "sigmoid" or "tanh"')

    def __call__(self, said: Tensor, goal: Tensor) -> Tensor:
        """Distances of the entries of two tensors of one shape, real and at least 0."""
        size = (said - goal).abs()
        plain = size if self.distance == "absolute" else size.square()
        if not self.focal:
            return plain
        scaled = self.sharpness * size
        weight = scaled.tanh() if self.activation == "tanh" else 2 * scaled.sigmoid() - 1
        focused = plain * weight**self.power
        return focused + plain if self.residual else focused


def spatial_distance(criterion: Criterion, drawn: Tensor, true: Tensor, weight: Tensor) -> Tensor:
    """Mean distance of the scored pixels, averaged over channels too; a scalar, 0 where nothing is scored.

    Args:
        criterion: of single pixels.
        drawn: [B, C, H, W].
        true: [B, C, H, W].
        weight: [B, 1, H, W], 1 at hidden pixels; the rest 0, or less than 1.
    """
    total = (criterion(drawn, true) * weight).sum() / true.shape[1]
    return mean_over_ranks(total, weight.sum())


@dataclass(frozen=True)
class FrequencyDistance:
    """Distance of two spectra, once the visible part of the drawn picture is filled in (A2MIM, equation 5).

    Attributes:
        focal: the focal frequency loss (Jiang et al., arXiv 2012.12821): spectra are averaged over the batch, the
            squared distance of each frequency weighs by log(1 + distance) over its maximum. Otherwise the mean of
            a criterion over all entries of the spectra.
        fill: what stands at visible pixels: the "true" ones; those "drawn", without gradient; the "mean" colour;
            "mixed", half true and half drawn.
        visible: share of the drawn pixels, with gradient, that is left at visible places.
        reweigh: weigh each entry's distance by itself, without gradient (plain criterion only).

    Raises:
        UserError: an unknown filling, or a share outside 0..1.
    """

    focal: bool = True
    fill: Fill = "mixed"
    visible: float = 0.0
    reweigh: bool = False

    def __post_init__(self) -> None:
        if self.fill not in ("true", "drawn", "mean", "mixed"):
            raise UserError(f'fill {self.fill!r} is unknown: choose "true", "drawn", "mean" or "mixed"')
        if not 0 <= self.visible <= 1:
            raise UserError(f"visible {self.visible}: give a share from 0 to 1")

    def __call__(self, criterion: Criterion, drawn: Tensor, true: Tensor, hidden: Tensor) -> Tensor:
        """The distance, a scalar; half precision is left first, as FFTs there are too coarse.

        Args:
            criterion: of single entries, where this is not focal.
            drawn: [B, C, H, W].
            true: [B, C, H, W].
            hidden: [B, 1, H, W], 1 at hidden pixels, else 0.
        """
        completed = self.filled(drawn.float(), true.float(), hidden.float())
        spectra = [torch.fft.fft2(picture, norm="ortho") for picture in (completed, true.float())]
        if self.focal:
            return focal_distance(*spectra)
        distance = criterion(*spectra)
        return (distance * distance.detach() if self.reweigh else distance).mean()

    def filled(self, drawn: Tensor, true: Tensor, hidden: Tensor) -> Tensor:
        """The drawn picture with its visible pixels filled in, [B, C, H, W]."""
        share = hidden + (1 - hidden) * self.visible
        if self.fill == "true":
            other = true
        elif self.fill == "drawn":
            other = drawn.detach()
        elif self.fill == "mean":
            other = true.mean((2, 3), keepdim=True)
        else:
            other = 0.5 * drawn.detach() + 0.5 * true
        return drawn * share + other * (1 - share)


def focal_distance(said: Tensor, goal: Tensor) -> Tensor:
    """Focal distance of two complex spectra [B, C, H, W], each averaged over the batch first; a scalar."""
    # averages of single processes differ from that of all; gradients are averaged, as everywhere
    distance = (said.mean(0) - goal.mean(0)).abs()
    raised = (distance.detach() + 1).log()
    weight = (raised / raised.max()).nan_to_num(0.0).clamp(0, 1)
    return (weight * distance.square()).mean()
