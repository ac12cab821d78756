"""CLIP score: agreement of images and captions as a CLIP model from disk sees it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mimgen.errors import UserError
from mimgen.evaluation.descriptor import check_images
from mimgen.evaluation.generation.extractors import file_digest

__all__ = ["clip_score", "clip_similarities"]


def clip_score(
    images: Tensor, captions: Sequence[str], folder: str | Path, *, batch_size: int = 64
) -> dict[str, Any]:
    """Mean over the images of 100 max(cos(image, caption), 0).

    The cosine of CLIPScore (Hessel et al. 2021, arXiv 2104.08718, section 3), whose factor w = 2.5 is
    replaced by the 100 that text-to-image papers and torchmetrics use. Scores of different CLIP models
    cannot be compared, so the result names the model and a digest of its weights.

    Args:
        images: [n, 3, S, S] in [0, 1].
        captions: n strings.
        folder: a CLIP model as transformers saves it (config, weights, tokenizer, preprocessor);
            nothing is downloaded.
        batch_size: images per step; the result does not depend on it.

    Returns:
        JSON: `clip_score`, `values` (one per image), `model`, `n`, and `truncated`, the number of
        captions that are longer than the model reads.

    Raises:
        UserError: numbers differ, the images are not images, or the folder holds no CLIP model.
    """
    cosines, truncated = _cosines(images, captions, folder, batch_size)
    values = (100 * cosines.clamp(min=0)).tolist()
    return {
        "clip_score": sum(values) / len(values),
        "values": values,
        "model": _named(Path(folder)),
        "n": len(values),
        "truncated": truncated,
    }


def clip_similarities(
    images: Tensor, captions: Sequence[str], folder: str | Path, *, batch_size: int = 64
) -> Tensor:
    """[n] float64 cosine in [-1, 1] of each image with its caption; arguments and errors of `clip_score`."""
    return _cosines(images, captions, folder, batch_size)[0]


def _cosines(images: Tensor, captions: Sequence[str], folder: str | Path, batch: int) -> tuple[Tensor, int]:
    check_images(images, "CLIP score")
    if len(images) != len(captions):
        raise UserError(
            f"CLIP score: {len(images)} images and {len(captions)} captions; give one caption per image"
        )
    if batch < 1:
        raise UserError(f"CLIP score: batch_size {batch} is not positive")
    model, processor = _load(Path(folder).expanduser())
    device = next(model.parameters()).device
    longest = int(model.config.text_config.max_position_embeddings)
    ids = processor.tokenizer(list(captions))["input_ids"]
    truncated = sum(len(row) > longest for row in ids)
    found = []
    with torch.no_grad():
        for start in range(0, len(images), batch):
            rows = slice(start, start + batch)
            # always padded to the full length, so that a row does not depend on its batch
            fed = processor(
                text=list(captions[rows]),
                images=_bytes(images[rows]),
                return_tensors="pt",
                padding="max_length",
                truncation=True,
                max_length=longest,
            )
            out = model(**{name: value.to(device) for name, value in fed.items()})
            # CLIPModel returns embeddings of length 1
            found.append((out.image_embeds.double() * out.text_embeds.double()).sum(1).cpu())
    return torch.cat(found), truncated


def _bytes(images: Tensor) -> list[Any]:
    """PIL images: a model's own preprocessor resizes 8-bit images, as it did in training."""
    from PIL import Image

    pixels = (images.detach().float().clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
    return [Image.fromarray(image) for image in pixels]


def _load(folder: Path) -> tuple[Any, Any]:
    from transformers import CLIPModel, CLIPProcessor

    if not (folder / "config.json").is_file():
        raise UserError(
            f"no CLIP model at {folder} (no config.json); pass a folder as transformers' save_pretrained writes it"
        )
    try:
        model = CLIPModel.from_pretrained(folder, local_files_only=True, use_safetensors=True)
        processor = CLIPProcessor.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{folder} holds no complete CLIP model (config.json, model.safetensors, tokenizer, "
            f"preprocessor_config.json): {str(error).splitlines()[0] if str(error) else type(error).__name__}"
        ) from None
    return model.eval().to("cuda" if torch.cuda.is_available() else "cpu"), processor


def _named(folder: Path) -> dict[str, str]:
    """Name of a model's folder and digest of its weights."""
    return {"folder": str(folder), "weights": file_digest(sorted(folder.expanduser().glob("*.safetensors")))}
