"""A text-to-image pipeline of untrained parts that generates in milliseconds."""

from __future__ import annotations

import torch

from mimgen.encoders import ByteTextEncoder
from mimgen.generators import MeissonicTransformer
from mimgen.pipelines import Preset, TextToImagePipeline
from mimgen.tokenizers import ConvTokenizer

CODES = 40
SIDE = 4  # pixels of a token


def tiny_pipeline(**preset) -> TextToImagePipeline:
    """Images of 16 x 24 px, 4 x 6 tokens of 40 codes."""
    torch.manual_seed(0)
    transformer = MeissonicTransformer(1, 1, 16, 2, 12, 32, pooled_text_dim=12, vocab_size=41, codebook_size=CODES)
    text = ByteTextEncoder(width=12, depth=1, heads=2, max_words=5, buckets=32)
    tokenizer = ConvTokenizer(channels=8, multipliers=(1,), blocks=1, stem=4, quantizer="fsq", levels=(5, 8))
    settings = Preset(**{"resolution": (16, 24), "steps": 4, **preset})
    return TextToImagePipeline(transformer.eval(), tokenizer.eval(), text.eval(), settings)
