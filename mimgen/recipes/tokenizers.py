"""Tokenizers that were trained or converted before: finding them in folders, running them over data."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from mimgen.data import Dataset
from mimgen.errors import UserError
from mimgen.pipelines.parts import CONTINUOUS, FEATURES_ONLY, TOKENIZERS, open_part
from mimgen.tokenizers import ImageQuantizer, Tokenizer

DiscreteTokenizer = Tokenizer  # one with a codebook, from which images come back


def load_tokenizer(folder: str | Path) -> DiscreteTokenizer:
    """A tokenizer with a codebook from its own folder, a run folder, or a pipeline folder.

    Raises:
        UserError: none of them holds a tokenizer, or one that gives no codes or no images.
    """
    tokenizer: DiscreteTokenizer = open_part(_position(folder), TOKENIZERS, "tokenizer with codes and images")
    if not tokenizer.codebook_size:
        raise UserError(f"the {type(tokenizer).__name__} in {folder} is continuous: a tokenizer with codes is needed")
    cast(nn.Module, tokenizer).eval()
    return tokenizer


def load_image_quantizer(folder: str | Path) -> ImageQuantizer:
    """Anything that turns images into codes or latents: tokenizers, feature tokenizers, KL autoencoders.

    Raises:
        UserError: nothing of the kind there.
    """
    kinds = {**TOKENIZERS, **FEATURES_ONLY, **CONTINUOUS}
    coder: ImageQuantizer = open_part(_position(folder), kinds, "tokenizer")
    cast(nn.Module, coder).eval()
    return coder


def encoder_of(tokenizer: ImageQuantizer) -> Callable[[Tensor], Tensor]:
    """Images [b, 3, H, W] to ids [b, h, w] on the CPU, computed on the best device."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    cast(nn.Module, tokenizer).to(device).eval()

    @torch.no_grad()
    def encode(images: Tensor) -> Tensor:
        indices = tokenizer.encode(images.to(device)).indices
        if indices is None:
            raise UserError(f"a {type(tokenizer).__name__} has no codes: pass a tokenizer with a codebook")
        return indices.cpu()

    return encode


def tokenize(dataset: Dataset, tokenizer: ImageQuantizer, *, batch_size: int = 64) -> Tensor:
    """[len, h, w] int64 ids of every image, on the CPU, so that training need not encode them again."""
    encode, parts = encoder_of(tokenizer), []
    for start in range(0, len(dataset), batch_size):
        rows = range(start, min(start + batch_size, len(dataset)))
        parts.append(encode(torch.stack([dataset[row].image for row in rows]).float() / 255))
    return torch.cat(parts)


def gives_images(tokenizer: Any) -> bool:
    """Whether images come back from its codes: not so for tokenizers of features."""
    return isinstance(tokenizer, Tokenizer)


def _position(folder: str | Path) -> Path:
    root = Path(folder)
    for position in (root, root / "tokenizer", root / "vqvae", root / "pipeline" / "vqvae"):
        if (position / "config.json").is_file():
            return position
    raise UserError(
        f"no tokenizer in {root}; pass the --out folder of a tokenizer's run (`mimgen train` lists the configs), "
        "or a pipeline folder"
    )
