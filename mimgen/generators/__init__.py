"""Generators: masked token transformers."""

from mimgen.generators.class_sampling import ClassPredictor, sample_classes
from mimgen.generators.encoder import GeneratorEncoder
from mimgen.generators.mage import MageTransformer
from mimgen.generators.mage_encoder import MageEncoder
from mimgen.generators.maskgit import ClassTransformer
from mimgen.generators.meissonic import MeissonicTransformer
from mimgen.generators.speed import FeatureCache, Speed
from mimgen.generators.text_sampling import TextPredictor, sample_text
from mimgen.generators.titok_maskgit import TiTokMaskGit

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
