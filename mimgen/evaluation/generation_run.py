"""FID, KID, inception score, precision and recall of a model's images or a folder's: one door for all of them."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mimgen.data import open_dataset
from mimgen.errors import UserError
from mimgen.evaluation.generation.features import FeatureSet, load_features, measure_images, save_features
from mimgen.evaluation.generation.images import ImageSource, from_folder
from mimgen.evaluation.generation.metrics import METRICS, MetricSettings, generation_scores
from mimgen.evaluation.generation_sets import (
    extractor_of,
    generated,
    images_of,
    is_statistics,
    requests_of,
)
from mimgen.pipelines.open import find_pipeline, open_pipeline

__all__ = ["EvaluatedImages", "GenerationEvaluation"]


@dataclass(frozen=True)
class EvaluatedImages:
    """What was measured.

    Attributes:
        result: JSON: measure, model, protocol, scores, and facts beside them.
        images: "generated" and "true", as far as they were read.
    """

    result: dict[str, Any]
    images: Mapping[str, ImageSource]


@dataclass(frozen=True)
class GenerationEvaluation:
    """Compare generated images with true ones: FID, KID, inception score, precision and recall.

    Attributes:
        model: makes the samples: "bundled", the folder of a run, or a pipeline folder.
        samples: or a folder of image files made before.
        reference: true images: a folder of image files, data such as "emoji", or a .safetensors file made
            by --save-reference. Not needed for the inception score.
        metrics: of fid, kid, is, prc, separated by commas.
        extractor: features: lab-hog needs no weights, inception-v3-compat is the usual one, hf:FOLDER takes DINOv2
            or CLIP of transformers, and any encoder of `mimgen probe` works too.
        weights: file with the Inception weights; nothing is downloaded.
        layer: of Inception: 64, 192, 768 or 2048 (default).
        extractor_pixels: side at which an encoder sees the images; by default its own.
        n: images that the model makes; by default one per caption, at most 1000. Of a folder: measure so many.
        references: measure at most so many true images, spread over the set.
        prompts: data whose captions or classes the model generates; by default the reference, else emoji.
        split: of the reference and of the prompts; by default everything.
        pixels: bring images to this side first; by default folders stay as they are and data takes the model's.
        seed: of the generated images.
        steps: unmasking steps; by default the model's.
        guidance: guidance scale; by default the model's.
        batch_size: images at a time.
        kid_subsets: random subsets over which KID is averaged.
        kid_subset_size: images in each.
        is_splits: parts over which the inception score is averaged.
        prc_neighborhood: neighbours that make the balls of precision and recall.
        save_reference: also keep the reference's statistics in this .safetensors file. KID and PRC need every
            image's features, which are kept where they are among the metrics. Works without samples, too.

    Raises:
        UserError: what cannot be measured, before anything is opened. Messages name the flags of the command.
    """

    model: str | None = None
    samples: Path | None = None
    reference: str | None = None
    metrics: str = "fid,kid,prc"
    extractor: str = "lab-hog"
    weights: str | None = None
    layer: str | None = None
    extractor_pixels: int | None = None
    n: int | None = None
    references: int | None = None
    prompts: str | None = None
    split: str | None = None
    pixels: int | None = None
    seed: int = 0
    steps: int | None = None
    guidance: float | None = None
    batch_size: int = 64
    kid_subsets: int = 100
    kid_subset_size: int = 1000
    is_splits: int = 10
    prc_neighborhood: int = 3
    save_reference: Path | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The metrics by their names."""
        return tuple(name.strip() for name in self.metrics.split(",") if name.strip())

    def __post_init__(self) -> None:
        unknown = [name for name in self.names if name not in METRICS]
        if unknown or not self.names:
            raise UserError(f"--metrics {self.metrics!r}: choose some of {','.join(METRICS)}, separated by commas")
        if self.model is not None and self.samples is not None:
            raise UserError("give either --model or --samples, not both")
        if self.model is None and self.samples is None and self.save_reference is None:
            raise UserError("say what is measured: --model MODEL, or --samples FOLDER")
        if self.reference is None and (self.save_reference is not None or self.names != ("is",)):
            raise UserError("give --reference: a folder of true images, data such as emoji, or saved statistics")
        minima = {"n": 2, "references": 2, "batch_size": 1, "kid_subset_size": 2, "kid_subsets": 1, "is_splits": 1,
                  "prc_neighborhood": 1}  # fmt: skip
        for name, minimum in minima.items():
            value = getattr(self, name)
            if value is not None and value < minimum:
                raise UserError(f"--{name.replace('_', '-')} {value} is too small")
        if self.model is not None:
            find_pipeline(self.model)

    def run(self) -> EvaluatedImages:
        """Measure; warnings that arise on the way are among those of the result.

        Under torchrun every process runs this and returns the same, and the processes share the images.
        """
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            from mimgen.training.processes import start_accelerate

            start_accelerate()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", UserWarning)
            found = self._measured()
        arisen = [str(each.message) for each in caught if each.category is UserWarning]
        found.result["warnings"] = list(dict.fromkeys([*arisen, *found.result["warnings"]]))
        return found

    def _measured(self) -> EvaluatedImages:
        extractor = extractor_of(
            self.extractor, self.weights, self.layer, self.extractor_pixels, logits="is" in self.names
        )
        keep = bool({"kid", "prc"} & set(self.names))
        made, side, facts = self._samples()
        true, references = self._references(side)
        if true is not None:
            references = measure_images(true, extractor, keep=keep, batch_size=self.batch_size)
        if self.save_reference is not None and references is not None and os.environ.get("RANK", "0") == "0":
            save_features(references, self.save_reference)
            facts["saved_reference"] = str(self.save_reference)
        head = {"measure": "generation", "model": self.model or str(self.samples or "none"), **facts}
        if made is None:
            assert references is not None  # as __post_init__ requires
            return EvaluatedImages({**head, "protocol": dict(references.key), "scores": {}, "warnings": []}, {})
        samples = measure_images(made, extractor, keep=keep, batch_size=self.batch_size)
        settings = MetricSettings(
            kid_subsets=self.kid_subsets,
            kid_subset_size=self.kid_subset_size,
            is_splits=self.is_splits,
            prc_neighborhood=self.prc_neighborhood,
        )
        found = generation_scores(samples, references, self.names, settings)
        protocol = {**found.protocol, "samples_transform": samples.source["transform"], **facts.get("sampled", {})}
        result = {
            **{name: value for name, value in head.items() if name != "sampled"},
            "protocol": protocol,
            "scores": found.scores,
            "samples": dict(samples.source),
            "dimensions": samples.moments.dimensions,
            "weights_file": extractor.file,
            "warnings": list(found.warnings),
        }
        return EvaluatedImages(result, {"generated": made, **({} if true is None else {"true": true})})

    def _samples(self) -> tuple[ImageSource | None, int | None, dict[str, Any]]:
        """The images to evaluate, the side at which data is opened beside them, and facts for the result."""
        if self.samples is not None:
            made = from_folder(self.samples, self.pixels, self.n)
            return made, int(made.read(0, 1).shape[-1]), {}
        if self.model is None:
            return None, None, {}
        pipeline = open_pipeline(self.model)
        side = pipeline.preset.resolution[0]
        spec = self.prompts or self.reference or "emoji"
        if is_statistics(spec):
            spec = "emoji"
        requests = requests_of(pipeline, open_dataset(spec, size=side, split=self.split))
        options_given: dict[str, Any] = {"steps": self.steps, "guidance_scale": self.guidance}
        changes = {name: value for name, value in options_given.items() if value is not None}
        count = self.n or min(len(requests), 1000)
        made_here = generated(pipeline, self.model, requests, count, seed=self.seed, changes=changes)
        return made_here.source, side, {"sampled": {**made_here.facts, "prompts": spec, "prompts_split": self.split}}

    def _references(self, side: int | None) -> tuple[ImageSource | None, FeatureSet | None]:
        """True images that are still to be measured, or their saved statistics."""
        if self.reference is None:
            return None, None
        if is_statistics(self.reference):
            if self.references is not None:
                raise UserError("--references belongs to images; the saved statistics hold what they hold")
            return None, load_features(self.reference)
        found = images_of(self.reference, self.split, self.pixels, self.references, side)
        return found, None
