"""Do a model's images, or a folder's, show what the captions of the scene set say? Checked from the pixels alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mimgen.bundled import BUNDLED
from mimgen.data import evenly_spaced, load_images, open_dataset, open_scenes
from mimgen.errors import UserError
from mimgen.evaluation.clip_score import clip_score
from mimgen.evaluation.measure import size_of, through
from mimgen.evaluation.scenes import SceneCheck, evaluate_scenes, verify_scenes
from mimgen.pipelines.open import open_text_pipeline
from mimgen.types import mix_seed

__all__ = ["EvaluatedScenes", "SceneEvaluation"]

_BATCH = 64


@dataclass(frozen=True)
class EvaluatedScenes:
    """What was measured.

    Attributes:
        result: JSON: measure, model, protocol, scores, errors and counts by kind of caption; with a model the
            ceiling, which is what its tokenizer makes of the true images.
        images: [n, 3, S, S] in [0, 1].
        checks: one for each image.
    """

    result: dict[str, Any]
    images: Tensor
    checks: list[SceneCheck]


@dataclass(frozen=True)
class _Samples:
    """Images [n, 3, S, S] in [0, 1], their captions, and how they came about."""

    images: Tensor
    captions: list[str]
    facts: dict[str, Any]
    reconstructed: Tensor | None = None


@dataclass(frozen=True)
class SceneEvaluation:
    """Generate an image for each caption of the scene set and check it from its pixels.

    Attributes:
        model: "bundled", a run folder or a pipeline folder, trained on the data "scenes".
        samples: score these images instead: a data set whose captions are of the scene set.
        split: captions to generate: compose (pairs of colour and shape that training never shows) or val.
        limit: only so many captions: the first of the split, or spread over --samples.
        seed: of the images; each has its own, mixed from this and its number.
        steps: unmasking steps; by default the model's.
        guidance: guidance scale; by default the model's.
        pixels: side of the images of --samples.
        clip: folder with a CLIP model of transformers, to add the CLIP score.
    """

    model: str = BUNDLED
    samples: str | None = None
    split: str = "compose"
    limit: int | None = None
    seed: int = 0
    steps: int | None = None
    guidance: float | None = None
    pixels: int = 64
    clip: Path | None = None

    def __post_init__(self) -> None:
        if self.limit is not None and self.limit < 1:
            raise UserError(f"--limit {self.limit}: give at least 1")

    def run(self) -> EvaluatedScenes:
        """Generate or read, and check."""
        made = self._generated() if self.samples is None else self._read(self.samples)
        checks = verify_scenes(made.images, made.captions)
        found = evaluate_scenes(checks)
        scores = found.pop("scores")
        if made.reconstructed is not None:
            found["ceiling"] = evaluate_scenes(verify_scenes(made.reconstructed, made.captions))["scores"]
        if self.clip is not None:
            clip = clip_score(made.images, made.captions, self.clip)
            scores["CLIP score"] = clip.pop("clip_score")
            found["clip"] = clip
        result = {
            "measure": "scenes",
            "model": self.samples or self.model,
            "protocol": {**made.facts, "n": len(checks), "clip": found.get("clip", {}).get("model")},
            "scores": scores,
            **found,
        }
        return EvaluatedScenes(result, made.images, checks)

    def _generated(self) -> _Samples:
        """An image for each caption, and the true images through the model's tokenizer."""
        pipeline = open_text_pipeline(self.model)
        data = open_scenes(size_of(pipeline), self.split)
        numbers = list(range(len(data))[: self.limit])  # the first: kinds of caption take turns in the set
        captions = [data.captions[number] for number in numbers]
        seeds = [mix_seed(self.seed, number) for number in numbers]
        changes = {"steps": self.steps, "guidance_scale": self.guidance}
        given: dict[str, Any] = {name: value for name, value in changes.items() if value is not None}
        made, back = [], []
        for start in range(0, len(numbers), _BATCH):
            rows = slice(start, start + _BATCH)
            made.append(pipeline(captions[rows], seed=seeds[rows], **given).images.cpu())
            with torch.no_grad():
                back.append(through(pipeline, load_images(data, numbers[rows])))
        sampling = {"steps": pipeline.preset.steps, "guidance_scale": pipeline.preset.guidance_scale, **given}
        facts = {
            "data": data.name,
            "fingerprint": data.fingerprint,
            "pixels": data.size,
            "seed": self.seed,
            "steps": sampling["steps"],
            "guidance": sampling["guidance_scale"],
        }
        return _Samples(torch.cat(made), captions, facts, torch.cat(back))

    def _read(self, spec: str) -> _Samples:
        """Images made elsewhere, or the true ones ("scenes")."""
        own = spec == "scenes"
        data = open_scenes(self.pixels, self.split) if own else open_dataset(spec, size=self.pixels)
        numbers = list(range(len(data))[: self.limit]) if own else evenly_spaced(len(data), self.limit)
        facts = {"data": data.name, "fingerprint": data.fingerprint, "pixels": self.pixels}
        return _Samples(load_images(data, numbers), [data.captions[number] for number in numbers], facts)
