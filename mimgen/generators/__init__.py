"""Generators: masked token transformers."""

from mimgen.generators.encoder import GeneratorEncoder
from mimgen.generators.meissonic import MeissonicTransformer

__all__ = ["GeneratorEncoder", "MeissonicTransformer"]
