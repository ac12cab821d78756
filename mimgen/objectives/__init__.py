"""Objectives: batch in, losses out."""

from mimgen.objectives.masked_tokens import MaskedTokens
from mimgen.objectives.reconstruction import Reconstruction

__all__ = ["MaskedTokens", "Reconstruction"]
