"""What each inexact row of `python -m tests.bench generate` costs in quality: composition on the bundled model.

Every row generates the same held-out captions with the same seeds, so rows are compared prompt by prompt: the standard
error is that of the mean difference, which is smaller than that of either score.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mimgen.errors import UserError
from mimgen.evaluation.measure import size_of, split_of
from mimgen.pipelines import TextToImagePipeline
from mimgen.pipelines.open import BUNDLED, open_pipeline
from mimgen.types import mix_seed
from tests.bench.generate_draw import with_weights
from tests.bench.generate_rows import EXACT, Row

__all__ = ["Paired", "compositions", "paired"]

_DATA = "emoji"


@dataclass(frozen=True)
class Paired:
    """Mean difference of two rows over the same prompts, in points (hundredths), and its standard error."""

    difference: float
    error: float


def paired(ours: Sequence[bool], base: Sequence[bool]) -> Paired:
    """How much more often `ours` hit than `base`, prompt by prompt.

    Args:
        ours: for each prompt, whether the true image was found.
        base: the same of the row that is compared with.
    """
    apart = [100.0 * (int(a) - int(b)) for a, b in zip(ours, base, strict=True)]
    count, mean = len(apart), sum(apart) / len(apart)
    if count < 2:
        return Paired(mean, math.nan)
    variance = sum((value - mean) ** 2 for value in apart) / (count - 1)
    return Paired(mean, math.sqrt(variance / count))


def compositions(
    rows: Iterable[Row], prompts: int, steps: int, guidance: float, temperature: float, seed: int
) -> dict[str, dict[str, Any]]:
    """R@1 and R@5 of the bundled model, generating as each row says.

    Args:
        rows: the inexact ones are scored, and the row of all exact savings, with which they are compared.
        prompts: held-out captions, spread over the split; all of them where there are fewer.
        steps: of a whole image, as of the rows.
        guidance: scale.
        temperature: of the generate of tokens.
        seed: image i is generated with a seed mixed from this and i.

    Returns:
        by name of the row {"r1", "r5" in percent, "prompts"} and, but for the exact one, "r1_difference", "r1_error",
        "r5_difference", "r5_error" in points.
    """
    if prompts < 1:
        raise UserError(f"composition of {prompts} prompts: give at least 1")
    common = {"order": "confidence", "steps": steps, "guidance_scale": guidance, "token_temperature": temperature}
    score = _Scorer.open(prompts, seed)
    base = score(Row(EXACT, "exact"), common)
    found = {EXACT: _shares(base)}
    for row in (row for row in rows if row.kind == "inexact"):
        ranks = score(row, common)
        r1, r5 = (paired([rank <= k for rank in ranks], [rank <= k for rank in base]) for k in (1, 5))
        found[row.name] = {
            **_shares(ranks),
            "r1_difference": r1.difference, "r1_error": r1.error,
            "r5_difference": r5.difference, "r5_error": r5.error,
        }  # fmt: skip
    return found


def _shares(ranks: Sequence[int]) -> dict[str, Any]:
    r1, r5 = (100 * sum(rank <= k for rank in ranks) / len(ranks) for k in (1, 5))
    return {"r1": r1, "r5": r5, "prompts": len(ranks)}


@dataclass(frozen=True)
class _Scorer:
    """Generates the same prompts again and again and ranks the true images."""

    pipeline: TextToImagePipeline
    numbers: list[int]
    captions: list[str]
    seeds: list[int]
    references: Tensor

    @classmethod
    def open(cls, prompts: int, seed: int) -> _Scorer:
        from mimgen.data import load_images
        from mimgen.evaluation import describe

        generate = open_pipeline(BUNDLED)
        found = split_of(_DATA, size_of(generate), ("compose",))
        numbers = found.numbers["compose"]
        numbers = numbers[:: max(1, len(numbers) // prompts)][:prompts]
        captions = [found.everything[number].caption for number in numbers]
        references = describe(load_images(found.everything, range(len(found.everything))))
        return cls(generate, numbers, captions, [mix_seed(seed, number) for number in numbers], references)

    def __call__(self, row: Row, common: dict[str, Any]) -> tuple[int, ...]:
        """Ranks of the true images."""
        from mimgen.evaluation import composition_score

        bundled = self.pipeline
        generate = TextToImagePipeline(
            with_weights(bundled.transformer, row), bundled.vqvae, bundled.text_encoder, bundled.preset
        )
        with torch.no_grad():
            made = generate(self.captions, seed=self.seeds, **{**common, **row.preset}).images.float().cpu()
        return composition_score(made, self.numbers, self.references).ranks
