"""What `evaluate` and `quickstart` measure of a trained model, each as one JSON dictionary."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mimgen.data import Dataset, load_images, open_dataset
from mimgen.evaluation.composition import evaluate_composition
from mimgen.evaluation.reconstruction import evaluate_reconstruction
from mimgen.generators import GeneratorEncoder
from mimgen.pipelines import Pipeline, TextToImagePipeline
from mimgen.probing import extract, linear_probe, raw_pixels
from mimgen.tokenizers import Tokenizer

__all__ = [
    "ScoredSamples", "Split", "comparable", "composition", "images", "probe", "reconstruction", "size_of", "split_of",
    "through", "without_long_lists",
]  # fmt: skip

PROBED = ("group", "subgroup")
# what counts as a score of each measure; all else is protocol
SCORED = {
    "reconstruction": ("psnr_mean_of_images", "psnr_of_mean_mse", "ssim", "l1", "codebook", "rfid"),
    "composition": ("generated", "floor", "ceiling"),
    "probe": PROBED,
}


@dataclass(frozen=True)
class Split:
    """A dataset whose images are known by number, and the numbers of some of its splits."""

    everything: Dataset
    numbers: dict[str, list[int]]


@dataclass(frozen=True)
class ScoredSamples:
    """A composition score with the images that were made for it.

    Attributes:
        result: what `evaluate_composition` returns, with provenance of the sampling.
        made: [n, 3, S, S] one generated image a prompt.
        numbers: the true images' numbers.
    """

    result: dict[str, Any]
    made: Tensor
    numbers: list[int]


def split_of(spec: str, size: int, names: Sequence[str]) -> Split:
    """Open a dataset and find the images of the splits `names` in it, by their keys.

    Raises:
        UserError: a split is missing, or the data is streamed and cannot be numbered.
    """
    everything = open_dataset(spec, size=size)
    positions = {everything[index].key: index for index in range(len(everything))}
    numbers = {}
    for name in names:
        part = open_dataset(spec, size=size, split=name)
        numbers[name] = [positions[part[index].key] for index in range(len(part))]
    return Split(everything, numbers)


def images(spec: str, size: int, split: str | None, limit: int | None = None) -> Tensor:
    """[n, 3, size, size] in [0, 1]: every image of a split, or `limit` of them spread over it."""
    dataset = open_dataset(spec, size=size, split=split)
    step = max(1, len(dataset) // limit) if limit else 1
    return load_images(dataset, range(0, len(dataset), step)[:limit])


def reconstruction(
    tokenizer: Tokenizer,
    spec: str,
    size: int,
    split: str | None,
    limit: int | None = None,
    *,
    extractor: str | None = None,
    weights: str | None = None,
) -> dict[str, Any]:
    """PSNR, SSIM, use of the codebook and, with an extractor, rFID on one split, or `limit` images of it."""
    true = images(spec, size, split, limit)
    measured = evaluate_reconstruction(tokenizer, true, extractor=extractor, weights=weights)
    return {**measured, "reference_set": spec, "split": split}


def composition(
    pipeline: TextToImagePipeline,
    spec: str,
    *,
    seed: int = 0,
    steps: int | None = None,
    guidance: float | None = None,
    limit: int | None = None,
) -> ScoredSamples:
    """Images for the held-out `compose` captions, ranked against every image of the data.

    Args:
        pipeline: the generator.
        spec: the data, with the splits train and compose.
        seed: images are made with seeds mixed from this and the image's number.
        steps: unmasking steps; the pipeline's own by default.
        guidance: guidance scale; the pipeline's own by default.
        limit: score only so many prompts, spread over the split, to save time.
    """
    found = split_of(spec, size_of(pipeline), ("train", "compose"))
    numbers = found.numbers["compose"]
    if limit is not None:
        numbers = numbers[:: max(1, len(numbers) // limit)][:limit]
    made: list[Tensor] = []
    changed: dict[str, Any] = {"steps": steps, "guidance_scale": guidance}
    changes = {name: value for name, value in changed.items() if value is not None}

    def generate(captions: list[str], seeds: list[int]) -> Tensor:
        made.append(pipeline(captions, seed=seeds, **changes).images.cpu())
        return made[-1]

    def reconstruct(true: Tensor) -> Tensor:
        with torch.no_grad():
            return through(pipeline, true)

    result = evaluate_composition(
        generate, reconstruct, found.everything, numbers, found.numbers["train"], seed
    )
    result["steps"] = pipeline.preset.steps if steps is None else steps
    result["guidance"] = pipeline.preset.guidance_scale if guidance is None else guidance
    return ScoredSamples({**result, "ema": True}, torch.cat(made), numbers)


def probe(pipeline: TextToImagePipeline, spec: str, *, seed: int = 0) -> dict[str, Any]:
    """How well labels are read off the generator's blocks and off raw pixels, on `val`.

    Returns:
        for each label set: accuracy of the generator's features (all blocks, mean over the image),
        of raw pixels and of the most frequent class.
    """
    found = split_of(spec, size_of(pipeline), ("train", "val"))
    encoder = GeneratorEncoder(pipeline.transformer, pipeline.vqvae, pipeline.text_encoder)
    sets, parts = [found.numbers["train"], found.numbers["val"]], []
    for numbers in sets:
        images = load_images(found.everything, numbers)
        features = extract(encoder, images, layers=tuple(range(encoder.depth)))
        parts.append((features.joined, raw_pixels(images)))
    outcome: dict[str, Any] = {}
    for name in (name for name in PROBED if name in found.everything.label_names):
        train, val = (torch.tensor([found.everything[i].labels[name] for i in numbers]) for numbers in sets)
        ours, raw = (
            linear_probe(parts[0][kind], train, parts[1][kind], val, seed=seed).as_dict() for kind in (0, 1)
        )
        outcome[name] = {"generator": ours, "raw_pixels": raw, "majority": ours["majority"]}
    return {**outcome, "features": "all blocks, mean over patches", "reference_set": spec, "split": "val"}


def size_of(pipeline: Pipeline) -> int:
    """Side of the pipeline's images in pixels."""
    return pipeline.preset.resolution[0]


def through(pipeline: Pipeline, true: Tensor) -> Tensor:
    """Images [n, 3, S, S] through the pipeline's tokenizer and back, on the CPU."""
    tokenizer = pipeline.vqvae
    return tokenizer.decode(tokenizer.encode(true.to(pipeline.transformer.device))).cpu()


def comparable(measure: str, model: str, result: dict[str, Any]) -> dict[str, Any]:
    """A result of this module with its scores and its protocol apart, as two results are compared."""
    scored = SCORED[measure]
    protocol = {key: value for key, value in result.items() if key not in scored}
    scores = {key: result[key] for key in scored if key in result}
    return {"measure": measure, "model": model, **result, "protocol": without_long_lists(protocol), "scores": scores}


def without_long_lists(result: dict[str, Any]) -> dict[str, Any]:
    """A result without the lists that nobody reads at a terminal, at any depth."""
    return {
        key: without_long_lists(value) if isinstance(value, dict) else value
        for key, value in result.items()
        if not (isinstance(value, list | tuple) and len(value) > 8)
    }
