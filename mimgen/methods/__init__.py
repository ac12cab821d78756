"""Objectives: batch in, losses out."""

from mimgen.methods.a2mim.objective import PixelsAndFrequencies
from mimgen.methods.attmask.objective import AttentionGuided
from mimgen.methods.beitv2.objective import CodeModelling
from mimgen.methods.cae.objective import ContextAutoencoder
from mimgen.methods.ccvit.objective import CentroidModelling
from mimgen.methods.croco.objective import CrossViewCompletion
from mimgen.methods.dmjd.objective import JointDistillation
from mimgen.methods.hap.objective import PartsAndAlignment
from mimgen.methods.hiendmae.objective import HierarchicalModelling
from mimgen.methods.hpm.objective import HardPatches
from mimgen.methods.ibot.objective import SelfDistillation
from mimgen.methods.itpn.objective import PyramidDistillation, PyramidModelling
from mimgen.methods.latentmim.objective import LatentModelling
from mimgen.methods.localmim.objective import LocalModelling
from mimgen.methods.lut.objective import UnmaskedContext
from mimgen.methods.mergevq import MergeVQTraining
from mimgen.methods.mff.objective import FusedModelling
from mimgen.methods.mim import MaskedModelling
from mimgen.methods.moving_average import Momentum, MovingAverage
from mimgen.methods.proxy_codes import ProxyCodes
from mimgen.methods.reconstruction import Reconstruction
from mimgen.methods.selectivemae.objective import SelectiveModelling
from mimgen.methods.vqkd import FeatureReconstruction

__all__ = [
    "AttentionGuided",
    "CentroidModelling",
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
    "UnmaskedContext",
]
