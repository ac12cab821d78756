"""Targets: what is predicted for the patches that a mask covers."""

from mimgen.targets.codes import CodeTarget
from mimgen.targets.contract import Target
from mimgen.targets.features import FeatureTarget, Teacher
from mimgen.targets.hog import HogTarget
from mimgen.targets.pixels import PixelTarget

__all__ = [
    "CodeTarget",
    "FeatureTarget",
    "HogTarget",
    "PixelTarget",
    "Target",
    "Teacher",
]
