"""Generators: masked token transformers behind one protocol, `Generator`."""

from mimgen.generators.base import Generator, GeneratorObjective, TextCondition
from mimgen.generators.class_sampling import ClassPredictor, sample_classes
from mimgen.generators.class_tokens import ClassTokens
from mimgen.generators.mage.encoder import MageEncoder
from mimgen.generators.mage.model import MageTransformer
from mimgen.generators.mage.objective import MAGE
from mimgen.generators.maskgit.model import ClassTransformer
from mimgen.generators.meissonic.encoder import GeneratorEncoder
from mimgen.generators.meissonic.model import MeissonicTransformer
from mimgen.generators.meissonic.predictor import TextPredictor, sample_text
from mimgen.generators.meissonic.speed import FeatureCache, Speed
from mimgen.generators.titok_maskgit.model import TiTokMaskGit

__all__ = [
    "MAGE",
    "ClassPredictor",
    "ClassTokens",
    "ClassTransformer",
    "FeatureCache",
    "Generator",
    "GeneratorEncoder",
    "GeneratorObjective",
    "MageEncoder",
    "MageTransformer",
    "MeissonicTransformer",
    "Speed",
    "TextCondition",
    "TextPredictor",
    "TiTokMaskGit",
    "sample_classes",
    "sample_text",
]
