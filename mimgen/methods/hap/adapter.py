"""Official HAP checkpoints (junkunyuan/HAP): MAE's network for images twice as high as wide."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from mimgen.methods.mae import adapter as mae

RATIO = 2  # rows over columns of a person's image


def grid_of(patches: int) -> tuple[int, int]:
    """Rows and columns of a grid that is twice as high as wide; a square one where that does not fit."""
    columns = round((patches / RATIO) ** 0.5)
    if RATIO * columns * columns == patches:
        return RATIO * columns, columns
    side = round(patches**0.5)
    return side, side


def arguments(config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Arguments as of MAE, for weights of an upright grid."""
    found = mae.arguments(config, tensors)
    rows, columns = grid_of(tensors["pos_embed"].shape[1] - 1)
    size = {"image_size": (rows * found["patch"], columns * found["patch"])}
    return found | size | ({"decoder": found["decoder"] | size} if "decoder" in found else {})


ADAPTER = dataclasses.replace(
    mae.ADAPTER,
    name="hap",
    about="MAE of persons, hidden part by part (Yuan et al., 2023; github.com/junkunyuan/HAP)",
    arguments=arguments,
)
