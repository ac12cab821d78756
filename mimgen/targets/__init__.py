"""Targets: what is predicted for the patches that a mask hides."""

from mimgen.targets.codes import CodeTarget
from mimgen.targets.contract import Target
from mimgen.targets.features import FeatureTarget, Teacher
from mimgen.targets.frequency import Criterion, FrequencyDistance
from mimgen.targets.hog import HogTarget
from mimgen.targets.multiscale import SobelTarget
from mimgen.targets.pixels import PixelTarget
from mimgen.targets.replacement import choose_visible, paste
from mimgen.targets.standardised import StandardisedFeatures
from mimgen.targets.volumes import VolumeTarget
from mimgen.targets.whitened import WhitenedHog

__all__ = [
    "CodeTarget",
    "Criterion",
    "FeatureTarget",
    "FrequencyDistance",
    "HogTarget",
    "PixelTarget",
    "SobelTarget",
    "StandardisedFeatures",
    "Target",
    "Teacher",
    "VolumeTarget",
    "WhitenedHog",
    "choose_visible",
    "paste",
]
