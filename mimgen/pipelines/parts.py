"""The parts of a saved pipeline: how to save and load them, and the grid of tokens that they share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from mimgen.encoders import ByteTextEncoder, ClipTextEncoder
from mimgen.errors import UserError
from mimgen.generators import Generator
from mimgen.pretrained import PretrainedModule, load_pretrained, loadable
from mimgen.tokenizers import Tokenizer
from mimgen.tokenizers.open import load_tokenizer

__all__ = ["load_part", "save_part", "token_grid"]


def load_part(name: str, folder: Path, variant: str | None = None) -> Any:
    """Load the part `name` ("transformer", "vqvae" or "text_encoder") from its folder, in float32.

    Args:
        name: of the part.
        folder: its own.
        variant: reads `*.<variant>.safetensors`; by default the plain file, or "fp16" where there is nothing else.

    Raises:
        UserError: no config.json there, or of a class that cannot be this part.
    """
    if not (folder / "config.json").is_file():
        raise UserError(f"{folder} holds no config.json: the pipeline's part {name} is missing")
    variant = variant or _only_variant(folder)
    if name == "vqvae":
        return load_tokenizer(folder, role=name, variant=variant)
    return load_pretrained(folder, _wanted(name), role=name, variant=variant)


def _wanted(name: str) -> Any:
    """What the part `name` has to be."""
    text = (ByteTextEncoder, ClipTextEncoder)
    return {"transformer": Generator, "vqvae": Tokenizer, "text_encoder": text}[name]


def _only_variant(folder: Path) -> str | None:
    """"fp16" where half precision is all that the folder has."""
    names = [path.name for path in folder.glob("*.safetensors")]
    return "fp16" if names and all(".fp16." in name for name in names) else None


def save_part(name: str, part: Any, folder: Path, dtype: torch.dtype | None) -> list[str]:
    """Save a part and return its [module, class] for model_index.json.

    Raises:
        UserError: the part's class cannot be loaded back as `name`.
    """
    if not isinstance(part, _wanted(name)) or not loadable(type(part)):
        raise UserError(f"a {type(part).__name__} cannot be saved as {name} of a pipeline folder")
    if isinstance(part, PretrainedModule):
        part.save_pretrained(folder, dtype=dtype)
    else:
        part.save_pretrained(folder)
    return [type(part).__module__, type(part).__name__]


def token_grid(tokenizer: Any, height: int, width: int) -> tuple[int, int]:
    """Rows and columns of the ids of an image.

    One id for each square of `downsample` pixels, or the tokenizer's own `grid`: a 1-D tokenizer has one
    row of ids, whatever the size of the image.

    Raises:
        UserError: the image does not divide into tokens.
    """
    own = getattr(tokenizer, "grid", None)
    if own is not None:
        rows, columns = own
        return int(rows), int(columns)
    side = tokenizer.downsample
    if min(height, width) < 1:
        raise UserError(f"images of {width} x {height} px: give a height and a width of at least {side} px")
    if height % side or width % side:
        raise UserError(
            f"images of {width} x {height} px do not divide into tokens of {side} px: choose multiples of {side}"
        )
    return height // side, width // side
