"""Objectives: batch in, losses out."""

from mimgen.objectives.a2mim import PixelsAndFrequencies
from mimgen.objectives.attmask import AttentionGuided
from mimgen.objectives.beitv2 import CodeModelling
from mimgen.objectives.cae import ContextAutoencoder
from mimgen.objectives.ccvit import CentroidModelling
from mimgen.objectives.class_tokens import ClassTokens
from mimgen.objectives.cross_view import CrossViewCompletion
from mimgen.objectives.dmjd import JointDistillation
from mimgen.objectives.hap import PartsAndAlignment
from mimgen.objectives.hiendmae import HierarchicalModelling
from mimgen.objectives.hpm import HardPatches
from mimgen.objectives.ibot import SelfDistillation
from mimgen.objectives.itpn import PyramidDistillation, PyramidModelling
from mimgen.objectives.latent import LatentModelling
from mimgen.objectives.localmim import LocalModelling
from mimgen.objectives.lut import UnmaskedContext
from mimgen.objectives.mage import TwoLevelTokens
from mimgen.objectives.masked_tokens import MaskedTokens
from mimgen.objectives.merge_vq import MergeVQTraining
from mimgen.objectives.mff import FusedModelling
from mimgen.objectives.mim import MaskedModelling
from mimgen.objectives.moving_average import Momentum, MovingAverage
from mimgen.objectives.proxy_codes import ProxyCodes
from mimgen.objectives.reconstruction import Reconstruction
from mimgen.objectives.selective import SelectiveModelling
from mimgen.objectives.start import start_from
from mimgen.objectives.vqkd import FeatureReconstruction

__all__ = [
    "AttentionGuided",
    "CentroidModelling",
    "ClassTokens",
    "CodeModelling",
    "ContextAutoencoder",
    "CrossViewCompletion",
    "FeatureReconstruction",
    "FusedModelling",
    "HardPatches",
    "HierarchicalModelling",
    "JointDistillation",
    "LatentModelling",
    "LocalModelling",
    "MaskedModelling",
    "MaskedTokens",
    "MergeVQTraining",
    "Momentum",
    "MovingAverage",
    "PartsAndAlignment",
    "PixelsAndFrequencies",
    "ProxyCodes",
    "PyramidDistillation",
    "PyramidModelling",
    "Reconstruction",
    "SelectiveModelling",
    "SelfDistillation",
    "TwoLevelTokens",
    "UnmaskedContext",
    "start_from",
]
