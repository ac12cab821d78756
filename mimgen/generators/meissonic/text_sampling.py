"""Sampling of the text-conditional generator: encoded captions in, token ids out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import torch
from torch import Tensor

from mimgen.encoders import TextStates
from mimgen.errors import UserError
from mimgen.generators.meissonic.model import MeissonicTransformer
from mimgen.generators.meissonic.speed import EXACT, Speed
from mimgen.generators.meissonic.text_run import TextRun
from mimgen.sampling import Sampled, unmask
from mimgen.sampling.guidance import combine
from mimgen.types import SampleRNG

# How the authors of Meissonic sample (their script; the default of their pipeline is 48 steps); names as of the
# pipeline's preset. The clock is told whole numbers although the model was trained on rates.
RELEASED: Mapping[str, Any] = {
    "steps": 64, "guidance_scale": 9.0, "guidance_interval": (0.0, 1.0), "order": "confidence", "schedule": "cosine",
    "choice_temperature": (2.0, 0.0), "token_temperature": 1.0, "timestep_mode": "steps", "crop": (0, 0), "score": 6.0,
}  # fmt: skip


def released_preset(transformer: MeissonicTransformer) -> dict[str, Any]:
    """`RELEASED` with the resolution: the released transformer that halves its grid is the one of 1024 px."""
    side = 1024 if transformer.compression == 2 else 512
    return {"resolution": (side, side), **RELEASED}


def check_scheduler(scheduler: Mapping[str, Any], transformer: MeissonicTransformer) -> None:
    """Refuse a released scheduler's configuration that is not of this transformer.

    Raises:
        UserError: it masks with another id.
    """
    mask_token = scheduler.get("mask_token_id", transformer.mask_id)
    if mask_token != transformer.mask_id:
        raise UserError(
            f"the scheduler masks with id {mask_token}, the transformer was trained with "
            f"{transformer.mask_id} (the last "
            "of its vocabulary): the folders are of two models"
        )


@dataclass(frozen=True)
class TextPredictor:
    """The transformer as the sampler's `predict`.

    Attributes:
        transformer: the generator.
        grid: rows and columns of tokens.
        text: states [B, T, D] and pooled [B, P] of the captions.
        negative: the same of what the unconditional branch of the guidance reads.
        sizes: micro-conditions: width, height, crop left, crop top, score.
        steps: of the whole run.
        timestep_mode: what the model is told of the progress: "rate", the share still masked; "steps", the
            number of steps left behind this one, as the release samples.
        speed: what is saved. A predictor serves one run of the sampler at a time.
    """

    transformer: MeissonicTransformer
    grid: tuple[int, int]
    text: TextStates
    negative: TextStates
    sizes: tuple[float, float, float, float, float]
    steps: int
    timestep_mode: Literal["rate", "steps"] = "rate"
    speed: Speed = EXACT

    @cached_property
    def run(self) -> TextRun:
        """What this predictor keeps from step to step."""
        sizes = self.conditions(len(self.text.states))
        return TextRun(self.transformer, self.grid, self.text, self.negative, sizes, self.speed)

    @property
    def cache_bytes(self) -> int:
        """Largest size of the feature cache so far; 0 without one."""
        return self.run.memory.bytes

    def __call__(
        self, tokens: Tensor, positions: Tensor, step: int, guided: bool
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Logits [B, M, K], with those of the unconditional branch besides if `guided`."""
        features = self.run.features(tokens, positions, step, self.progress(tokens, step), guided)
        logits = self.transformer.mlm_layer.logits(features)
        if not guided:
            return logits
        conditional, unconditional = logits.chunk(2)
        return conditional, unconditional

    def guided(self, tokens: Tensor, positions: Tensor, step: int, weight: float) -> Tensor:
        """Guided logits u + w (c - u), [B, M, K]: mixed in front of the head's last layer, or behind it."""
        if not self.speed.guide_features and self.speed.guidance_every == 1:
            conditional, unconditional = self(tokens, positions, step, True)
            return combine(conditional, unconditional, weight)
        mixed = self.run.mixed(tokens, positions, step, self.progress(tokens, step), weight)
        return self.transformer.mlm_layer.logits(mixed)

    def progress(self, tokens: Tensor, step: int) -> Tensor:
        """[B] how far sampling of tokens [B, N] has come, as the model is told."""
        if self.timestep_mode == "steps":
            return torch.full((len(tokens),), float(self.steps - 1 - step), device=tokens.device)
        # the share still masked, the same quantity that the model was told in training
        return (tokens == self.transformer.mask_id).float().mean(1)

    def conditions(self, count: int) -> Tensor:
        """[count, 5] micro-conditions."""
        return torch.tensor(self.sizes, dtype=torch.float32, device=self.transformer.device).expand(count, -1)


def sample_text(
    predict: TextPredictor, rng: SampleRNG, *, initial_tokens: Tensor | None = None, **options: Any
) -> Sampled:
    """Generate the tokens of one image for each caption.

    Args:
        predict: generator and captions.
        rng: B random streams.
        initial_tokens: [B, N] int64 ids that are known, the mask id where a token is to be generated; None
        generates all.
        options: further arguments of `mimgen.sampling.unmask`, without steps and grid.

    Raises:
        UserError: see `unmask`.
    """
    mask_id, (rows, columns) = predict.transformer.mask_id, predict.grid
    if initial_tokens is None:
        initial_tokens = torch.full((len(rng), rows * columns), mask_id)
    tokens = initial_tokens.to(predict.transformer.device)
    return unmask(
        predict, tokens, mask_id=mask_id, steps=predict.steps, rng=rng, grid=predict.grid, **options
    )
