"""Poolings of tokens that attend: many tokens of an image to one vector, with maps of what counted."""

from mimgen.layers.pooling.abmilp import AbmilpPooling
from mimgen.layers.pooling.blocks import CaitPooling, ClipPooling, DinoBlockPooling, JepaPooling
from mimgen.layers.pooling.contract import Pooled, Pooling
from mimgen.layers.pooling.efficient import EfficientPooling, MultiheadPooling
from mimgen.layers.pooling.gates import CbamPooling, DolgPooling
from mimgen.layers.pooling.head import ProbeHead
from mimgen.layers.pooling.named import POOLING_NAMES, PoolingName, pooling_named
from mimgen.layers.pooling.queries import AimPooling, CaePooling, CocaPooling, SiglipPooling
from mimgen.layers.pooling.simpool import ESimPool, SimPool

__all__ = [
    "POOLING_NAMES",
    "AbmilpPooling",
    "AimPooling",
    "CaePooling",
    "CaitPooling",
    "CbamPooling",
    "ClipPooling",
    "CocaPooling",
    "DinoBlockPooling",
    "DolgPooling",
    "ESimPool",
    "EfficientPooling",
    "JepaPooling",
    "MultiheadPooling",
    "Pooled",
    "Pooling",
    "PoolingName",
    "ProbeHead",
    "SiglipPooling",
    "SimPool",
    "pooling_named",
]
