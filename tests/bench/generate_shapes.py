"""What `python -m tests.bench generate` generates with: shapes of Meissonic with fresh weights, and stand-ins.

Only the transformer is measured. Text states are generated numbers and an image is not decoded, so that a shape
needs no files and nothing else takes time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

from mimgen.encoders import TextStates
from mimgen.generators import MeissonicTransformer
from mimgen.pipelines import Preset, TextToImagePipeline
from mimgen.types import mix_seed

__all__ = ["MICRO_SCORE", "SHAPES", "WORDS", "Shape", "encode", "pipeline", "transformer"]

WORDS = 77  # text tokens of CLIP, which the release reads
MICRO_SCORE = 6.0  # preference score that the model is told
_PIXELS = 16  # of a side of a token
_SPREAD = 4.0  # of logits, about as of a trained model; those of fresh weights would all be alike


@dataclass(frozen=True)
class Shape:
    """Numbers of one size.

    Attributes:
        side: rows and columns of image ids.
        codes: size of the codebook.
        width: of the model.
        heads: of its attention.
        joint: joint blocks.
        single: single-stream blocks.
        compress: halve the grid inside the blocks.
        text_width: of the text states and of the pooled text.
        batch: images of a training step.
    """

    side: int
    codes: int
    width: int
    heads: int
    joint: int
    single: int
    compress: bool
    text_width: int
    batch: int = 4

    @property
    def vocabulary(self) -> int:
        """Ids with the mask (the last one) and spare ones, as many as in the release."""
        return self.codes + 64

    @property
    def mask_id(self) -> int:
        """The last id of the vocabulary."""
        return self.vocabulary - 1

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of ids."""
        return self.side, self.side

    @property
    def tokens(self) -> int:
        """Ids of an image."""
        return self.side**2

    @property
    def sizes(self) -> tuple[float, float, float, float, float]:
        """Micro-conditions of a whole image."""
        return self.side * _PIXELS, self.side * _PIXELS, 0, 0, MICRO_SCORE


SHAPES = {
    "tiny": Shape(8, 64, 32, 2, 1, 2, compress=False, text_width=32),
    "tiny-compressed": Shape(8, 64, 32, 2, 1, 2, compress=True, text_width=32),
    "small": Shape(32, 8192, 384, 6, 4, 8, compress=False, text_width=1024),
    "small-compressed": Shape(32, 8192, 384, 6, 4, 8, compress=True, text_width=1024),
    "1b": Shape(64, 8192, 1024, 8, 14, 28, compress=True, text_width=1024),
}


def transformer(shape: Shape, seed: int = 0) -> MeissonicTransformer:
    """Meissonic of that shape with fresh weights, in evaluation mode."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        made = MeissonicTransformer(
            num_layers=shape.joint,
            num_single_layers=shape.single,
            attention_head_dim=shape.width // shape.heads,
            num_attention_heads=shape.heads,
            joint_attention_dim=shape.text_width,
            pooled_projection_dim=shape.width,
            pooled_text_dim=shape.text_width,
            vocab_size=shape.vocabulary,
            codebook_size=shape.codes,
            downsample=shape.compress,
            upsample=shape.compress,
        )
    with torch.no_grad():
        # behind a norm, so that the rows of this matrix alone say how far logits spread
        made.mlm_layer.conv2.weight.mul_(_SPREAD * 3**0.5)
    return made.eval()


def encode(shape: Shape, prompts: Sequence[str]) -> TextStates:
    """Generated text states [B, 77, text_width] and pooled [B, text_width]; the same words give the same numbers."""
    rows = []
    for prompt in prompts:
        generator = torch.Generator().manual_seed(mix_seed("prompt", prompt))
        rows.append(torch.randn(WORDS + 1, shape.text_width, generator=generator))
    sampled = torch.stack(rows)
    return TextStates(sampled[:, :WORDS], sampled[:, WORDS])


@dataclass(frozen=True)
class _Text:
    """In the place of a text encoder."""

    shape: Shape
    device: torch.device
    dtype: torch.dtype

    def encode(self, prompts: Sequence[str]) -> TextStates:
        text = encode(self.shape, prompts)
        return TextStates(*(part.to(self.device, self.dtype) for part in (text.states, text.pooled)))


@dataclass(frozen=True)
class _Codes:
    """In the place of a tokenizer; its images are one grey pixel."""

    codebook_size: int
    downsample: int = _PIXELS

    def decode(self, codes: Tensor) -> Tensor:
        return torch.full((len(codes), 3, 1, 1), 0.5, device=codes.device)


def pipeline(shape: Shape, model: MeissonicTransformer, **preset: Any) -> TextToImagePipeline:
    """The pipeline around `model`, with stand-ins for text encoder and tokenizer.

    Args:
        shape: of the model.
        model: on its device and in its precision.
        preset: fields of `Preset`, without the resolution.
    """
    text = _Text(shape, model.device, model.dtype)
    side = shape.side * _PIXELS
    return TextToImagePipeline(model, cast(Any, _Codes(shape.codes)), cast(Any, text), Preset((side, side), **preset))
