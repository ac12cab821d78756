"""From what the user calls a model to a loaded pipeline or tokenizer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, cast

from mimgen.bundled import BUNDLED, pipeline_folder
from mimgen.errors import UserError

if TYPE_CHECKING:
    from mimgen.pipelines.base import Pipeline
    from mimgen.pipelines.text_to_image import TextToImagePipeline
    from mimgen.tokenizers import Tokenizer

__all__ = ["BUNDLED", "find_pipeline", "open_pipeline", "open_text_pipeline", "open_tokenizer", "pipeline_conditioning"]


def find_pipeline(model: str, flag: str = "--model") -> Path:
    """As `mimgen.pipelines.folders.find_pipeline`, imported when it is called: it brings torch along."""
    from mimgen.pipelines import folders

    return folders.find_pipeline(model, flag)


def pipeline_conditioning(model: str) -> str:
    """What the pipeline meant by `model` is conditioned on, "text", "class" or "none", without loading it."""
    from mimgen.pipelines import load

    return load.conditioning_in(find_pipeline(model))


def open_pipeline(model: str, memory: float | None = None) -> Pipeline:
    """Load the pipeline meant by `model` onto the best device.

    Args:
        model: "bundled", the folder of a run, or a pipeline folder.
        memory: gigabytes that it has to do with; see `mimgen.pipelines.memory_preset`.
    """
    folder = find_pipeline(model)

    import torch

    from mimgen.pipelines.load import load_pipeline
    from mimgen.pipelines.memory import Memory, apply_memory, move_parts

    bounds = Memory.of(memory)
    pipeline = load_pipeline(folder)
    pipeline.memory = bounds
    text_encoder = getattr(pipeline, "text_encoder", None)
    others = (pipeline.vqvae,) if text_encoder is None else (pipeline.vqvae, text_encoder)
    apply_memory(pipeline.transformer, others, bounds)
    if torch.cuda.is_available():
        move_parts((pipeline.transformer, pipeline.vqvae), text_encoder, bounds, "cuda")
    return pipeline


def open_text_pipeline(model: str) -> TextToImagePipeline:
    """As `open_pipeline`, for what reads captions.

    Raises:
        UserError: the model is conditioned on classes, or on nothing.
    """
    from mimgen.pipelines import text_to_image

    pipeline = open_pipeline(model)
    if not isinstance(pipeline, text_to_image.TextToImagePipeline):
        raise UserError(f"{model} does not read captions: pass a text-to-image model, such as bundled")
    return pipeline


def open_tokenizer(
    model: str, pixels: int | None = None, flag: str = "--pixels", *, codes: bool = True, named: str = "--model"
) -> tuple[Tokenizer, int]:
    """The tokenizer meant by `model` on the best device, and the side of its images.

    Args:
        model: "bundled", a run folder, a pipeline folder, or the folder of a tokenizer.
        pixels: the side where it is known; otherwise the one at which the tokenizer was trained.
        flag: what the user types to say it.
        codes: it must have a codebook; otherwise a continuous one, such as a KL autoencoder, will do.
        named: the flag with which the user names the tokenizer.

    Raises:
        UserError: there is none, images do not come back from it, or nothing says at which size it was trained.
    """
    import torch

    from mimgen.tokenizers import Tokenizer
    from mimgen.tokenizers.open import load_image_quantizer, load_tokenizer

    if pixels is not None and pixels < 1:
        raise UserError(f"{flag} {pixels}: give the side of the images in pixels, such as 64")
    root = pipeline_folder() if model == BUNDLED else Path(model)
    if model == BUNDLED:
        find_pipeline(model)
    elif not root.exists():
        raise UserError(
            f"no such folder: {root}; {named} takes the folder of a run, a pipeline or a tokenizer, or {BUNDLED!r}"
        )
    tokenizer = load_tokenizer(root) if codes else load_image_quantizer(root)
    if not isinstance(tokenizer, Tokenizer):
        raise UserError(
            f"{root} holds a {type(tokenizer).__name__}, whose codes stand for features: no image comes back from it"
        )
    if torch.cuda.is_available():
        cast(torch.nn.Module, tokenizer).to("cuda")
    side = pixels or trained_at(root) or getattr(tokenizer, "image_size", None)
    if side is None:
        raise UserError(f"{root} does not say at which size it was trained; pass {flag}")
    return tokenizer, int(side)


def trained_at(root: Path) -> int | None:
    """Side in pixels that a pipeline folder, or the run that a tokenizer comes from, states."""
    for candidate in (root, root / "pipeline", root.parent):
        index, settings = candidate / "model_index.json", candidate / "settings.json"
        try:
            if index.is_file():
                return int(json.loads(index.read_text("utf-8"))["resolution"][0])
            if settings.is_file():
                return int(json.loads(settings.read_text("utf-8"))["record"]["pixels"])
        except (ValueError, LookupError, TypeError):
            continue  # a damaged file says nothing
    return None
