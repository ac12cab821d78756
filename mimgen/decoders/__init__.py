"""Decoders: from the tokens of an encoder to a prediction for every patch."""

from mimgen.decoders.mae import LinearDecoder, MaeDecoder
from mimgen.decoders.pyramid import FeatureHeads, PyramidDecoder

__all__ = ["FeatureHeads", "LinearDecoder", "MaeDecoder", "PyramidDecoder"]
