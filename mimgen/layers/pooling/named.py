"""Poolings by the names that commands and papers use."""

from __future__ import annotations

import math
from typing import Literal, get_args

from mimgen.errors import UserError
from mimgen.layers.pooling.abmilp import AbmilpPooling
from mimgen.layers.pooling.blocks import CaitPooling, ClipPooling, DinoBlockPooling, JepaPooling
from mimgen.layers.pooling.contract import Pooling
from mimgen.layers.pooling.efficient import EfficientPooling, MultiheadPooling
from mimgen.layers.pooling.gates import CbamPooling, DolgPooling
from mimgen.layers.pooling.queries import AimPooling, CaePooling, CocaPooling, SiglipPooling
from mimgen.layers.pooling.simpool import ESimPool, SimPool

PoolingName = Literal[
    "efficient", "multihead", "abmilp", "simpool", "esimpool", "clip", "siglip", "aim", "cbam", "coca",
    "cait", "dinovit", "jepa", "dolg", "cae",
]  # fmt: skip
POOLING_NAMES: tuple[str, ...] = get_args(PoolingName)


def pooling_named(name: str, width: int, grid: tuple[int, int], prefix: int = 0) -> Pooling:
    """A fresh pooling with the defaults of its method.

    Heads and queries are the largest common divisor of the method's number and `width`, so that every width
    works.

    Args:
        name: one of `POOLING_NAMES`.
        width: D of the tokens.
        grid: rows and columns of the patch tokens.
        prefix: class and register tokens in front of them.

    Raises:
        UserError: unknown name, or a pooling of a map with tokens in front of it.
    """
    tokens = prefix + grid[0] * grid[1]
    if name in ("cbam", "dolg") and prefix:
        raise UserError(f"pooling {name} reads a map of patches: leave the {prefix} tokens in front of it out")
    match name:
        case "efficient":
            return EfficientPooling(width, math.gcd(width, 32))
        case "multihead":
            return MultiheadPooling(width, math.gcd(width, 12))
        case "abmilp":
            return AbmilpPooling(width)
        case "simpool":
            return SimPool(width)
        case "esimpool":
            return ESimPool(width, math.gcd(width, 12))
        case "clip":
            return ClipPooling(width, tokens, math.gcd(width, 4))
        case "siglip":
            return SiglipPooling(width, math.gcd(width, 8))
        case "aim":
            return AimPooling(width, math.gcd(width, 16))
        case "cbam":
            return CbamPooling(width, grid=grid)
        case "coca":
            return CocaPooling(width)
        case "cait":
            return CaitPooling(width, math.gcd(width, 4))
        case "dinovit":
            return DinoBlockPooling(width, math.gcd(width, 8))
        case "jepa":
            return JepaPooling(width, math.gcd(width, 16))
        case "dolg":
            return DolgPooling(width, grid=grid)
        case "cae":
            return CaePooling(width, math.gcd(width, 8))
    raise UserError(f"pooling {name!r} is unknown; choose from {', '.join(POOLING_NAMES)}")
