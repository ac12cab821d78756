"""How far a generated image is from the true one, pixel by pixel and frequency by frequency (A2MIM, section 4.3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from mimgen.errors import UserError
from mimgen.ops.distributed import distributed_mean

Fill = Literal["true", "predicted", "mean", "mixed"]


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

    def __call__(self, predicted: Tensor, goal: Tensor) -> Tensor:
        """Distances of the entries of two tensors of one shape, real and at least 0."""
        size = (predicted - goal).abs()
        plain = size if self.distance == "absolute" else size.square()
        if not self.focal:
            return plain
        scaled = self.sharpness * size
        weight = scaled.tanh() if self.activation == "tanh" else 2 * scaled.sigmoid() - 1
        focused = plain * weight**self.power
        return focused + plain if self.residual else focused


def spatial_distance(criterion: Criterion, reconstructed: Tensor, true: Tensor, weight: Tensor) -> Tensor:
    """Mean distance of the scored pixels, averaged over channels too; a scalar, 0 where nothing is scored.

    Args:
        criterion: of single pixels.
        reconstructed: [B, C, H, W].
        true: [B, C, H, W].
        weight: [B, 1, H, W], 1 at masked pixels; the rest 0, or less than 1.
    """
    total = (criterion(reconstructed, true) * weight).sum() / true.shape[1]
    return distributed_mean(total, weight.sum())


@dataclass(frozen=True)
class FrequencyDistance:
    """Distance of two spectra, once the visible part of the generated image is filled in (A2MIM, equation 5).

    Attributes:
        focal: the focal frequency loss (Jiang et al., arXiv 2012.12821): spectra are averaged over the batch, the
            squared distance of each frequency weighs by log(1 + distance) over its maximum. Otherwise the mean of
            a criterion over all entries of the spectra.
        fill: what stands at visible pixels: the "true" ones; those "sampled", without gradient; the "mean" colour;
            "mixed", half true and half sampled.
        visible: share of the sampled pixels, with gradient, that is left at visible positions.
        reweigh: weigh each entry's distance by itself, without gradient (plain criterion only).

    Raises:
        UserError: an unknown filling, or a share outside 0..1.
    """

    focal: bool = True
    fill: Fill = "mixed"
    visible: float = 0.0
    reweigh: bool = False

    def __post_init__(self) -> None:
        if self.fill not in ("true", "predicted", "mean", "mixed"):
            raise UserError(f'fill {self.fill!r} is unknown: choose "true", "sampled", "mean" or "mixed"')
        if not 0 <= self.visible <= 1:
            raise UserError(f"visible {self.visible}: give a share from 0 to 1")

    def __call__(self, criterion: Criterion, reconstructed: Tensor, true: Tensor, masked: Tensor) -> Tensor:
        """The distance, a scalar; half precision is left first, as FFTs there are too coarse.

        Args:
            criterion: of single entries, where this is not focal.
            reconstructed: [B, C, H, W].
            true: [B, C, H, W].
            masked: [B, 1, H, W], 1 at masked pixels, else 0.
        """
        completed = self.filled(reconstructed.float(), true.float(), masked.float())
        spectra = [torch.fft.fft2(image, norm="ortho") for image in (completed, true.float())]
        if self.focal:
            return focal_distance(*spectra)
        distance = criterion(*spectra)
        return (distance * distance.detach() if self.reweigh else distance).mean()

    def filled(self, reconstructed: Tensor, true: Tensor, masked: Tensor) -> Tensor:
        """The generated image with its visible pixels filled in, [B, C, H, W]."""
        share = masked + (1 - masked) * self.visible
        if self.fill == "true":
            other = true
        elif self.fill == "predicted":
            other = reconstructed.detach()
        elif self.fill == "mean":
            other = true.mean((2, 3), keepdim=True)
        else:
            other = 0.5 * reconstructed.detach() + 0.5 * true
        return reconstructed * share + other * (1 - share)


def focal_distance(predicted: Tensor, goal: Tensor) -> Tensor:
    """Focal distance of two complex spectra [B, C, H, W], each averaged over the batch first; a scalar."""
    # averages of single processes differ from that of all; gradients are averaged, as everywhere
    distance = (predicted.mean(0) - goal.mean(0)).abs()
    raised = (distance.detach() + 1).log()
    weight = (raised / raised.max()).nan_to_num(0.0).clamp(0, 1)
    return (weight * distance.square()).mean()
