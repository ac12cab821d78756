"""Quantisers: continuous latents in, token ids and quantised latents out.

What each is for: `FiniteScalarQuantizer` works out of the box and cannot collapse; `VectorQuantizer`
learns its codes (k-means start, revival); `SimpleVectorQuantizer` and `IndexBackpropQuantizer` keep large
learnt codebooks in use; `LookupFreeQuantizer` and `BinarySphericalQuantizer` have 2^bits codes without a
table; `ResidualQuantizer` adds codes up for fidelity.
"""

from mimgen.tokenizers.quantizers.base import Quantizer, nearest
from mimgen.tokenizers.quantizers.finite_scalar import FiniteScalarQuantizer
from mimgen.tokenizers.quantizers.index_backprop import IndexBackpropQuantizer
from mimgen.tokenizers.quantizers.lookup_free import LookupFreeQuantizer
from mimgen.tokenizers.quantizers.residual import ResidualQuantizer
from mimgen.tokenizers.quantizers.simple import SimpleVectorQuantizer
from mimgen.tokenizers.quantizers.spherical import BinarySphericalQuantizer
from mimgen.tokenizers.quantizers.vector import VectorQuantizer

__all__ = [
    "BinarySphericalQuantizer",
    "FiniteScalarQuantizer",
    "IndexBackpropQuantizer",
    "LookupFreeQuantizer",
    "Quantizer",
    "ResidualQuantizer",
    "SimpleVectorQuantizer",
    "VectorQuantizer",
    "nearest",
]
