"""Generators: masked token transformers."""

from mimgen.generators.encoder import GeneratorEncoder
from mimgen.generators.mage import MageTransformer
from mimgen.generators.mage_encoder import MageEncoder
from mimgen.generators.maskgit import ClassTransformer
from mimgen.generators.meissonic import MeissonicTransformer

__all__ = [
    "ClassTransformer",
    "GeneratorEncoder",
    "MageEncoder",
    "MageTransformer",
    "MeissonicTransformer",
]
