"""Tokenizers: images to codes and back."""

from mimgen.tokenizers.centroid_fit import fit_centroids
from mimgen.tokenizers.centroids import CentroidTokenizer
from mimgen.tokenizers.contract import ImageQuantizer, Tokenizer
from mimgen.tokenizers.conv import ConvTokenizer
from mimgen.tokenizers.diffusers_models import DiffusersKL, DiffusersVQ
from mimgen.tokenizers.discriminators import (
    BlurDiscriminator,
    DinoDiscriminator,
    Discriminator,
    MaskBitDiscriminator,
    PatchDiscriminator,
    StyleDiscriminator,
    open_discriminator,
)
from mimgen.tokenizers.encoder import TokenizerEncoder
from mimgen.tokenizers.llamagen.model import LlamaGenVQ
from mimgen.tokenizers.magvit2.model import OpenMagvit2
from mimgen.tokenizers.mergevq import MergeVQ, MergeVQEncoder
from mimgen.tokenizers.perceptual import Perceptual, open_perceptual
from mimgen.tokenizers.quantizers import (
    BinarySphericalQuantizer,
    FiniteScalarQuantizer,
    IndexBackpropQuantizer,
    LookupFreeQuantizer,
    ResidualQuantizer,
    SimpleVectorQuantizer,
    VectorQuantizer,
)
from mimgen.tokenizers.titok import TiTok, TiTokLegacy, TiTokProxy
from mimgen.tokenizers.usage import CodeUsage
from mimgen.tokenizers.vqkd.model import VqKd

__all__ = [
    "BinarySphericalQuantizer",
    "BlurDiscriminator",
    "CentroidTokenizer",
    "CodeUsage",
    "ConvTokenizer",
    "DiffusersKL",
    "DiffusersVQ",
    "DinoDiscriminator",
    "Discriminator",
    "FiniteScalarQuantizer",
    "ImageQuantizer",
    "IndexBackpropQuantizer",
    "LlamaGenVQ",
    "LookupFreeQuantizer",
    "MaskBitDiscriminator",
    "MergeVQ",
    "MergeVQEncoder",
    "OpenMagvit2",
    "PatchDiscriminator",
    "Perceptual",
    "ResidualQuantizer",
    "SimpleVectorQuantizer",
    "StyleDiscriminator",
    "TiTok",
    "TiTokLegacy",
    "TiTokProxy",
    "Tokenizer",
    "TokenizerEncoder",
    "VectorQuantizer",
    "VqKd",
    "fit_centroids",
    "open_discriminator",
    "open_perceptual",
]
