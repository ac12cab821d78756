"""Tokenizers: pictures to codes and back."""

from mimgen.tokenizers.contract import Tokenizer
from mimgen.tokenizers.conv import ConvTokenizer
from mimgen.tokenizers.diffusers_models import DiffusersKL, DiffusersVQ
from mimgen.tokenizers.discriminators import PatchDiscriminator
from mimgen.tokenizers.perceptual import Perceptual, open_perceptual
from mimgen.tokenizers.quantizers import FiniteScalarQuantizer, LookupFreeQuantizer, VectorQuantizer
from mimgen.tokenizers.usage import CodeUsage

__all__ = [
    "CodeUsage",
    "ConvTokenizer",
    "DiffusersKL",
    "DiffusersVQ",
    "FiniteScalarQuantizer",
    "LookupFreeQuantizer",
    "PatchDiscriminator",
    "Perceptual",
    "Tokenizer",
    "VectorQuantizer",
    "open_perceptual",
]
