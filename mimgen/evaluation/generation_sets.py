"""What the user calls samples, references and extractors, as the sources that generation metrics read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mimgen.data import evenly_spaced, open_dataset
from mimgen.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

    from mimgen.data import Dataset
    from mimgen.evaluation.generation import Extractor, ImageSource
    from mimgen.pipelines import Pipeline

__all__ = ["EXTRACTORS", "Generated", "extractor_of", "generated", "images_of", "is_statistics", "requests_of"]

EXTRACTORS = (
    "lab-hog (no weights), inception-v3-compat (with --weights), hf:FOLDER (DINOv2 or CLIP of transformers), "
    "or any encoder that `mimgen probe` takes"
)


@dataclass(frozen=True)
class Generated:
    """Images that a model makes as they are measured.

    Attributes:
        source: what metrics read.
        facts: how they are made, for the result.
    """

    source: ImageSource
    facts: dict[str, Any]


def extractor_of(
    spec: str, weights: str | None, layer: str | None, pixels: int | None, *, logits: bool = False
) -> Extractor:
    """The extractor meant by `spec`; see EXTRACTORS.

    Args:
        spec: what the user typed.
        weights: of Inception.
        layer: of Inception.
        pixels: side at which an encoder sees images; by default its own.
        logits: also read class logits, where the extractor has them.

    Raises:
        UserError: unknown, its weights are missing, or options that do not belong to it.
    """
    from mimgen.evaluation.fid import open_extractor
    from mimgen.evaluation.generation import INCEPTION, LAB_HOG, from_encoder, transformers_folder

    if spec in (INCEPTION, LAB_HOG):
        return open_extractor(spec, weights, layer, logits=logits)
    if weights is not None or layer is not None:
        raise UserError(f"--weights and --layer belong to {INCEPTION}; leave them out with {spec}")
    if spec.startswith("hf:") and _is_teacher(Path(spec[3:])):
        return transformers_folder(spec[3:], pixels)

    from mimgen.probing.open import open_encoder

    try:
        loaded = open_encoder(spec, pixels)
    except UserError as error:
        raise UserError(f"extractor {spec!r} is none of {EXTRACTORS}: {error}") from None
    return from_encoder(loaded.encoder, loaded.name, loaded.digest, loaded.pixels)


def is_statistics(spec: str) -> bool:
    """Whether `spec` means a file of saved statistics."""
    return spec.endswith(".safetensors")


def images_of(
    spec: str, split: str | None, pixels: int | None, limit: int | None, default: int | None = None
) -> ImageSource:
    """The images meant by `spec`: a folder of image files as they are, or any data.

    Args:
        spec: folder or data.
        split: of data; a folder with a split is opened as data.
        pixels: side; a folder's files stay as they are without it.
        limit: at most so many, spread over the set.
        default: side at which data is opened where `pixels` is not given.

    Raises:
        UserError: no such folder or data, or data of no known size.
    """
    from mimgen.evaluation.generation import from_dataset, from_folder

    folder = Path(spec)
    if split is None and folder.is_dir() and _holds_images(folder):
        return from_folder(folder, pixels, limit)
    side = pixels or default
    if side is None:
        raise UserError(f"{spec}: say at which side in pixels it is opened (--pixels)")
    dataset = open_dataset(spec, size=side, split=split)
    whole = limit is None or limit >= len(dataset)
    indices = None if whole else evenly_spaced(len(dataset), limit)
    name = spec if split is None else f"{spec}/{split}"
    return from_dataset(dataset, indices, name)


def generated(
    pipeline: Pipeline, name: str, requests: Sequence[Any], count: int, *, seed: int, changes: dict[str, Any]
) -> Generated:
    """Images of a model for captions or classes, image i with its own seed whatever the batch or the process.

    Args:
        pipeline: the model.
        name: what the user calls it.
        requests: image i has request i * len // count, or round and round where they are too few.
        count: images.
        seed: seeds are mixed from this and i.
        changes: of the pipeline's preset.

    Raises:
        UserError: no requests.
    """
    from dataclasses import asdict, replace

    from mimgen.evaluation.generation import ImageSource
    from mimgen.ops.images import to_uint8
    from mimgen.types import mix_seed

    if not requests:
        raise UserError("there are no captions to generate images for; pass --prompts with data that has some")
    few = count > len(requests)
    prompts = [requests[index % len(requests) if few else index * len(requests) // count] for index in range(count)]

    def read(start: int, stop: int) -> Tensor:
        seeds = [mix_seed(seed, index) for index in range(start, stop)]
        return to_uint8(pipeline(prompts[start:stop], seed=seeds, **changes).images)

    sampling = asdict(replace(pipeline.preset, **changes))
    facts = {"seed": seed, "captions": len(requests), "sampling": sampling, "ema": True}
    return Generated(ImageSource(name, f"seed {seed}", count, read), facts)


def requests_of(pipeline: Pipeline, dataset: Dataset) -> list[Any]:
    """What a model is asked for so that its images are like those of a data set: captions, classes or nothing.

    Raises:
        UserError: the data have not the labels that the model was trained on.
    """
    if pipeline.conditioning == "text":
        return [text for text in dataset.captions if text]
    if pipeline.conditioning == "none":
        return [None] * len(dataset)
    label = pipeline.label  # type: ignore[attr-defined]
    if label not in dataset.labels:
        known = ", ".join(dataset.labels) or "none"
        raise UserError(f'this model generates classes of "{label}", and {dataset.name} has the labels {known}')
    return dataset.labels[label].tolist()


def _is_teacher(folder: Path) -> bool:
    """Whether a transformers folder is read by its pooled output: DINOv2 and CLIP."""
    import json

    config = folder / "config.json"
    if not config.is_file():
        raise UserError(f"{folder} holds no config.json: hf: takes a folder saved by transformers")
    try:
        config_content = json.loads(config.read_text("utf-8"))
    except ValueError as error:
        raise UserError(f"{config} is damaged ({error}): save the model again") from None
    return str(config_content.get("model_type")).startswith(("dinov2", "clip")) or "model_type" not in config_content


def _holds_images(folder: Path) -> bool:
    from mimgen.evaluation.generation.images import SUFFIXES

    return any(file.suffix.lower() in SUFFIXES for file in folder.rglob("*"))
