"""How a pipeline samples; saved with the weights, so that a folder generates as it was measured."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Any, Literal

from mimgen.errors import UserError
from mimgen.generators.meissonic.speed import EXACT, Speed
from mimgen.sampling import (
    Arccos,
    Confidence,
    Cosine,
    Guidance,
    Halton,
    Linear,
    Order,
    Random,
    Raster,
    Schedule,
    TokenSampler,
)
from mimgen.sampling.guidance import Rule

ORDERS: Mapping[str, Order] = {
    "confidence": Confidence(),
    "halton": Halton(),
    "random": Random(),
    "raster": Raster(),
}
SCHEDULES: Mapping[str, Schedule] = {"cosine": Cosine(), "linear": Linear(), "arccos": Arccos()}
TIMESTEP_MODES = ("rate", "steps")
PAIRS: Mapping[str, str] = {
    "resolution": "height and width", "guidance_interval": "start and end", "crop": "left and top",
    "original_size": "height and width",
}  # fmt: skip


@dataclass(frozen=True)
class Preset:
    """Sampling settings.

    Attributes:
        resolution: (height, width) in pixels of an image.
        steps: unmasking steps.
        guidance_scale: classifier-free guidance u + w (c - u); 1 turns it off.
        guidance_interval: part of the steps in which guidance is on, as shares in [0, 1].
        order: "confidence", "halton", "random" or "raster".
        schedule: "cosine", "linear" or "arccos".
        choice_temperature: Gumbel noise on the confidence at the first and at the last step; a single number
            falls to 0.01.
        token_temperature: divides the logits before a token is generated; 0 takes the likeliest. Always, or from the
            first to the last step.
        logit_temperature: divides the guided logits before anything else, so that it changes the confidence, too;
            always, or from the first to the last step.
        guidance_rule: course of the guidance over the steps, see `mimgen.sampling.Guidance`.
        guidance_power: of the rule "power-cosine".
        confidence: by what tokens compete for staying: the "probability" of the sampled token, or its "logit" (TiTok).
        timestep_mode: what the model is told of the progress: "rate", the share still masked, as in training;
            or "steps", the number of steps left, as the release of Meissonic samples.
        crop: (left, top) corner in pixels that the model is told, as of an image cut out of a larger one.
        original_size: (height, width) that the model is told an image had before it was scaled; None for `resolution`.
        score: preference score that the model is told; the release of Meissonic samples with 6.
        speed: what sampling saves; the savings that are exact but for rounding are on.
    """

    resolution: tuple[int, int] = (64, 64)
    steps: int = 16
    guidance_scale: float = 3.0
    guidance_interval: tuple[float, float] = (0.0, 1.0)
    order: str = "halton"
    schedule: str = "cosine"
    choice_temperature: float | tuple[float, float] = (2.0, 0.0)
    token_temperature: float | tuple[float, float] = 1.0
    logit_temperature: float | tuple[float, float] = 1.0
    guidance_rule: Rule = "constant"
    guidance_power: float = 3.0
    confidence: Literal["probability", "logit"] = "probability"
    timestep_mode: str = "rate"
    crop: tuple[int, int] = (0, 0)
    original_size: tuple[int, int] | None = None
    score: float = 6.0
    speed: Speed = EXACT

    def __post_init__(self) -> None:
        for what, name, known in (("order", self.order, ORDERS), ("schedule", self.schedule, SCHEDULES)):
            if name not in known:
                raise UserError(f'{what} must be one of {", ".join(known)}, got "{name}"')
        if self.timestep_mode not in TIMESTEP_MODES:
            raise UserError(f'timestep_mode must be one of {", ".join(TIMESTEP_MODES)}, got "{self.timestep_mode}"')
        if self.steps < 1:
            raise UserError(f"steps={self.steps}: at least one step is needed")
        for name, what in PAIRS.items():
            _check_pair(name, getattr(self, name), what)
        if not math.isfinite(self.guidance_scale):
            raise UserError(f"guidance_scale={self.guidance_scale}: give a finite number; 1 is no guidance")

    def sampling(self) -> dict[str, Any]:
        """Arguments of `mimgen.sampling.unmask`, all but the schedule, of which a strength leaves a part."""
        return {
            "steps": self.steps,
            "order": ORDERS[self.order],
            "choice_temperature": self.choice_temperature,
            "token_temperature": self.token_temperature,
            "logit_temperature": self.logit_temperature,
            "guidance": Guidance(self.guidance_scale, self.guidance_interval, self.guidance_rule, self.guidance_power),
            "token_sampler": TokenSampler(self.confidence),
        }

    @classmethod
    def read(cls, config: Mapping[str, Any]) -> Preset:
        """From JSON: the fields that `config` has, lists as tuples."""
        known: dict[str, Any] = {name: config[name] for name in cls.__dataclass_fields__ if name in config}
        fields: dict[str, Any] = {n: tuple(v) if isinstance(v, list) else v for n, v in known.items()}
        if isinstance(speed := fields.get("speed"), Mapping):
            fields["speed"] = Speed.read(speed)
        return cls(**fields)


def _check_pair(name: str, value: Any, what: str) -> None:
    """Refuse what is not two finite numbers; `original_size` may be None."""
    if value is None and name == "original_size":
        return
    pair = isinstance(value, (tuple, list)) and len(value) == 2
    if not pair or not all(isinstance(part, Real) and math.isfinite(part) for part in value):
        raise UserError(f"{name}={value}: give two numbers, {what}")
