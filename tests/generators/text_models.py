"""A small text-conditional generator whose tokens depend on each other, for tests of sampling."""

from __future__ import annotations

import torch

from mimgen.encoders import TextStates
from mimgen.generators import MeissonicTransformer, Speed, TextCondition, TextPredictor

GRID, CODES = (5, 7), 40  # odd sides: the compressed grid has cells with fewer tokens
COUNT = GRID[0] * GRID[1]


def transformer(compress: bool = False, **changes: object) -> MeissonicTransformer:
    torch.manual_seed(0)
    made = MeissonicTransformer(
        1, 2, 16, 2, 12, 32, pooled_text_dim=12, vocab_size=CODES + 1, codebook_size=CODES, downsample=compress,
        upsample=compress, places=(6, 5), **changes,
    ).eval()  # fmt: skip
    with torch.no_grad():
        for name, weight in made.named_parameters():
            if "attn" in name or "embeddings" in name:
                weight.mul_(3)  # untrained attention hardly attends to anything
        torch.nn.init.normal_(made.mlm_layer.conv2.weight, std=0.5)
    return made


def text(rows: int, seed: int) -> TextStates:
    generator = torch.Generator().manual_seed(seed)
    states = torch.randn(8, 5, 12, generator=generator), torch.randn(8, 12, generator=generator)
    return TextStates(states[0][:rows], states[1][:rows])


def predictor(speed: Speed, compress: bool = False, steps: int = 8, rows: slice = slice(0, 3)) -> TextPredictor:
    """Of rows of three captions."""
    texts = (TextStates(t.states[rows], t.pooled[rows]) for t in (text(3, 1), text(3, 2)))
    condition = TextCondition(*texts, sizes=(56, 40, 0, 0, 6), steps=steps, speed=speed)
    return TextPredictor(transformer(compress), GRID, condition)


def half_known() -> torch.Tensor:
    """[3, N]: nothing, a part and every third token known."""
    start = torch.full((3, COUNT), CODES)
    start[1, 4:20] = torch.arange(16)
    start[2, ::3] = 7
    return start
