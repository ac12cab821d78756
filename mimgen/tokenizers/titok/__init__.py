"""TiTok: an image as a short row of tokens."""

from mimgen.tokenizers.titok.latents import Posterior
from mimgen.tokenizers.titok.model import TiTok
from mimgen.tokenizers.titok.proxy import TiTokLegacy, TiTokProxy

__all__ = ["Posterior", "TiTok", "TiTokLegacy", "TiTokProxy"]
