"""Masking: what is hidden, and what is put in its place."""

from mimgen.masking.attention import AttentionMasking, class_attention
from mimgen.masking.block import Block
from mimgen.masking.corruption import with_mask_token
from mimgen.masking.disjoint import Disjoint
from mimgen.masking.hard import Hard
from mimgen.masking.parts import Parts, part_patches
from mimgen.masking.random import Random
from mimgen.masking.rate import ArccosRate, CosineRate
from mimgen.masking.selective import Selective
from mimgen.masking.two_level import TwoLevel
from mimgen.masking.varied import VariedBlock
from mimgen.masking.windows import Windows

__all__ = [
    "ArccosRate",
    "AttentionMasking",
    "Block",
    "CosineRate",
    "Disjoint",
    "Hard",
    "Parts",
    "Random",
    "Selective",
    "TwoLevel",
    "VariedBlock",
    "Windows",
    "class_attention",
    "part_patches",
    "with_mask_token",
]
