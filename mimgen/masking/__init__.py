"""Masking: what is hidden, and what is put in its place."""

from mimgen.masking.block import Block
from mimgen.masking.corruption import with_mask_token
from mimgen.masking.random import Random
from mimgen.masking.rate import CosineRate

__all__ = [
    "Block",
    "CosineRate",
    "with_mask_token",
    "Random",
]
