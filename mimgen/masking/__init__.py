"""Masking: what is masked, and what is put in its place."""

from mimgen.masking.block import Block
from mimgen.masking.corruption import with_mask_token
from mimgen.masking.disjoint import Disjoint
from mimgen.masking.random import Random
from mimgen.masking.rate import ArccosRate, CosineRate
from mimgen.masking.windows import Windows

__all__ = [
    "ArccosRate",
    "Block",
    "CosineRate",
    "Disjoint",
    "Random",
    "Windows",
    "with_mask_token",
]
