"""Objectives: batch in, losses out."""

from mimgen.objectives.ccvit import CentroidModelling
from mimgen.objectives.masked_tokens import MaskedTokens
from mimgen.objectives.merge_vq import MergeVQTraining
from mimgen.objectives.mim import MaskedModelling
from mimgen.objectives.proxy_codes import ProxyCodes
from mimgen.objectives.reconstruction import Reconstruction
from mimgen.objectives.start import start_from
from mimgen.objectives.vqkd import FeatureReconstruction

__all__ = [
    "CentroidModelling",
    "FeatureReconstruction",
    "MaskedTokens",
    "MergeVQTraining",
    "ProxyCodes",
    "Reconstruction",
    "start_from",
    "MaskedModelling",
]
