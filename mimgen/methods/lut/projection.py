"""Projection heads of self-distillation: a few linear maps with norms and activations between them."""

from __future__ import annotations

from typing import Literal, get_args

from torch import nn

from mimgen.errors import UserError

Norm = Literal["batch", "layer", "none"]
Activation = Literal["relu", "gelu"]

EPSILON = 1e-6  # of the layer norms
_ACTIVATIONS = {"relu": nn.ReLU, "gelu": nn.GELU}


def projection_head(
    width: int,
    hidden: int = 4096,
    output: int | None = None,
    depth: int = 2,
    norm: Norm = "batch",
    activation: Activation = "relu",
) -> nn.Sequential:
    """`depth` linear maps without biases, norm and activation after each but the last; [B, width] -> [B, output].

    Batch norms take the statistics of the images that their process holds.

    Args:
        width: of what is read.
        hidden: width between two maps.
        output: width of the result; `width` by default.
        depth: linear maps; 0 for none at all.
        norm: "batch", "layer" or "none".
        activation: "relu" or "gelu".

    Raises:
        UserError: an unknown norm or activation.
    """
    if norm not in get_args(Norm) or activation not in get_args(Activation):
        raise UserError(
            f"norm {norm!r} and activation {activation!r}: choose a norm of {', '.join(get_args(Norm))} and an "
            f"activation of {', '.join(get_args(Activation))}"
        )
    widths = [width, *[hidden] * (depth - 1), output or width]
    layers: list[nn.Module] = []
    for number in range(depth):
        layers.append(nn.Linear(widths[number], widths[number + 1], bias=False))
        if number + 1 < depth:
            layers += [_normed(norm, hidden), _ACTIVATIONS[activation]()]
    return nn.Sequential(*layers)


def _normed(norm: Norm, width: int) -> nn.Module:
    if norm == "none":
        return nn.Identity()
    return nn.BatchNorm1d(width) if norm == "batch" else nn.LayerNorm(width, EPSILON)
