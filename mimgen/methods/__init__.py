"""Objectives: batch in, losses out."""

from mimgen.methods.a2mim.objective import A2MIM
from mimgen.methods.attmask import AttMask
from mimgen.methods.beitv2 import BEiTv2
from mimgen.methods.cae.objective import CAE
from mimgen.methods.ccvit import CCViT
from mimgen.methods.croco.objective import CroCo
from mimgen.methods.dmjd.objective import DMJD
from mimgen.methods.hap.objective import HAP
from mimgen.methods.hiendmae.objective import HiEndMAE
from mimgen.methods.hpm.objective import HPM
from mimgen.methods.ibot.objective import IBOT
from mimgen.methods.itpn.objective import ITPN, ITPNDistillation
from mimgen.methods.latentmim.objective import LatentMIM
from mimgen.methods.localmim.objective import LocalMIM
from mimgen.methods.lut.objective import LUT
from mimgen.methods.mergevq import MergeVQTraining
from mimgen.methods.mff.objective import MFF
from mimgen.methods.mim import MIM
from mimgen.methods.moving_average import Momentum, MovingAverage
from mimgen.methods.proxy_codes import ProxyCodes
from mimgen.methods.reconstruction import Reconstruction
from mimgen.methods.ropim import ROPIM
from mimgen.methods.selectivemae.objective import SelectiveMAE
from mimgen.methods.vqkd import FeatureReconstruction

__all__ = [
    "ROPIM",
    "A2MIM",
    "CAE",
    "DMJD",
    "HAP",
    "HPM",
    "IBOT",
    "ITPN",
    "LUT",
    "MFF",
    "MIM",
    "AttMask",
    "BEiTv2",
    "CCViT",
    "CroCo",
    "FeatureReconstruction",
    "HiEndMAE",
    "ITPNDistillation",
    "LatentMIM",
    "LocalMIM",
    "MergeVQTraining",
    "Momentum",
    "MovingAverage",
    "ProxyCodes",
    "Reconstruction",
    "SelectiveMAE",
]
