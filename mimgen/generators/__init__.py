"""Generators: masked token transformers."""

from mimgen.generators.class_sampling import ClassPredictor, sample_classes
from mimgen.generators.mage.encoder import MageEncoder
from mimgen.generators.mage.model import MageTransformer
from mimgen.generators.maskgit.model import ClassTransformer
from mimgen.generators.meissonic.encoder import GeneratorEncoder
from mimgen.generators.meissonic.model import MeissonicTransformer
from mimgen.generators.meissonic.speed import FeatureCache, Speed
from mimgen.generators.meissonic.text_sampling import TextPredictor, sample_text
from mimgen.generators.titok_maskgit.model import TiTokMaskGit

__all__ = [
    "ClassPredictor",
    "ClassTransformer",
    "FeatureCache",
    "GeneratorEncoder",
    "MageEncoder",
    "MageTransformer",
    "MeissonicTransformer",
    "Speed",
    "TextPredictor",
    "TiTokMaskGit",
    "sample_classes",
    "sample_text",
]
