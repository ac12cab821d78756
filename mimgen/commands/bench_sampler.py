"""Logits for masked tokens only against logits for all tokens: the same picture, and how much sooner."""

from __future__ import annotations

import time
from typing import Any

import torch
from torch import Tensor, nn

from mimgen.sampling import Cosine, unmask
from mimgen.sampling.confidence import choice_temperatures, scheduler_step
from mimgen.types import Draws

HEADS = 4


class _Predictor(nn.Module):
    """A trunk of two transformer layers over all tokens and a head whose cost dominates."""

    def __init__(self, tokens: int, codes: int, width: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(codes + 1, width)
        self.positions = nn.Parameter(torch.zeros(tokens, width))
        layer = nn.TransformerEncoderLayer(width, HEADS, 2 * width, 0.0, batch_first=True, norm_first=True)
        self.trunk = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(width, codes, bias=False)

    def states(self, tokens: Tensor) -> Tensor:
        """[B, N, D] of tokens [B, N]."""
        return self.trunk(self.embedding(tokens) + self.positions)

    def forward(self, tokens: Tensor, positions: Tensor, step: int, guided: bool) -> Tensor:
        """[B, M, K] logits of `positions` [B, M] only."""
        states = self.states(tokens)
        return self.head(states.gather(1, positions[..., None].expand(-1, -1, states.shape[-1])))


@torch.no_grad()
def _sample_full(predictor: _Predictor, tokens: Tensor, mask_id: int, steps: int, draws: Draws) -> Tensor:
    """[B, N] tokens by the released step: logits and draws for all positions, known ones thrown away."""
    temperatures = choice_temperatures((2.0, 0.0), steps)
    for step in range(steps):
        token_uniform, choice_uniform = draws.uniform(2, tokens.shape[1]).unbind(1)
        tokens = scheduler_step(
            predictor.head(predictor.states(tokens)),
            tokens,
            step=step,
            steps=steps,
            mask_id=mask_id,
            schedule=Cosine(),
            temperature=temperatures[step],
            token_uniform=token_uniform.flatten(),
            choice_uniform=choice_uniform,
        ).tokens
    return tokens


def bench(
    tokens: int = 256,
    codes: int = 8192,
    width: int = 256,
    steps: int = 12,
    batch: int = 4,
    repeats: int = 3,
    seed: int = 0,
) -> dict[str, Any]:
    """Time `unmask` with full and with masked-only logits; the fastest of `repeats` runs counts.

    Returns:
        {"full_s", "masked_s" seconds, "ratio" full / masked, "same_tokens", and the arguments}.
    """
    torch.manual_seed(seed)
    predictor = _Predictor(tokens, codes, width).eval()
    canvas = torch.full((batch, tokens), codes)

    def sample(full: bool) -> tuple[Tensor, float]:
        draws = Draws(range(seed, seed + batch))
        start = time.perf_counter()
        if full:
            result = _sample_full(predictor, canvas, codes, steps, draws)
        else:
            grid = (1, tokens)
            result = unmask(predictor, canvas, mask_id=codes, steps=steps, draws=draws, grid=grid).tokens
        return result, time.perf_counter() - start

    # Full and masked runs alternate, so that another load on the machine meets both.
    runs = [(sample(full=True), sample(full=False)) for _ in range(repeats)]
    same = all(torch.equal(a, b) for (a, _), (b, _) in runs)
    full_s = min(seconds for (_, seconds), _ in runs)
    masked_s = min(seconds for _, (_, seconds) in runs)
    return {
        "full_s": full_s,
        "masked_s": masked_s,
        "ratio": full_s / masked_s,
        "same_tokens": same,
        "tokens": tokens,
        "codes": codes,
        "width": width,
        "steps": steps,
        "batch": batch,
        "repeats": repeats,
        "seed": seed,
        "threads": torch.get_num_threads(),
    }
