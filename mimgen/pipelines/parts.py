"""The parts of a saved pipeline: which class a folder holds, and how to save and load it."""

from __future__ import annotations

import importlib
import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from mimgen.errors import UserError
from mimgen.pretrained import PretrainedModule

__all__ = [
    "FEATURES_ONLY", "KINDS", "PART_NAMES",
    "check_grid", "class_in", "load_part", "open_part", "save_part", "token_grid",
]  # fmt: skip

# A class by where it is: the name that config.json gives -> (module, class). The modules are imported
# when a folder of theirs is opened, because some bring libraries that take long to import.
Kinds = Mapping[str, tuple[str, str]]

TOKENIZERS: Kinds = {
    "ConvTokenizer": ("mimgen.tokenizers.conv", "ConvTokenizer"),
    "VQModel": ("mimgen.tokenizers.diffusers_models", "DiffusersVQ"),
    "OpenMagvit2": ("mimgen.tokenizers.magvit2.model", "OpenMagvit2"),
    "MergeVQ": ("mimgen.tokenizers.mergevq", "MergeVQ"),
    "LlamaGenVQ": ("mimgen.tokenizers.llamagen.model", "LlamaGenVQ"),
    "TiTok": ("mimgen.tokenizers.titok", "TiTok"),
    "TiTokLegacy": ("mimgen.tokenizers.titok", "TiTokLegacy"),
    "CentroidTokenizer": ("mimgen.tokenizers.centroids", "CentroidTokenizer"),
}
# codes that stand for features, from which no image comes back: targets, but nothing to generate with
FEATURES_ONLY: Kinds = {
    "VqKd": ("mimgen.tokenizers.vqkd.model", "VqKd"),
    "TiTokProxy": ("mimgen.tokenizers.titok", "TiTokProxy"),
}
# latents instead of codes
CONTINUOUS: Kinds = {"AutoencoderKL": ("mimgen.tokenizers.diffusers_models", "DiffusersKL")}

# name of the part -> the classes it can be
KINDS: Mapping[str, Kinds] = {
    "transformer": {
        "MeissonicTransformer": ("mimgen.generators", "MeissonicTransformer"),
        "Transformer2DModel": ("mimgen.generators", "MeissonicTransformer"),  # what the release calls it
    },
    "vqvae": TOKENIZERS,
    "text_encoder": {
        "ByteTextEncoder": ("mimgen.encoders", "ByteTextEncoder"),
        "CLIPTextModelWithProjection": ("mimgen.encoders", "ClipTextEncoder"),
    },
}
PART_NAMES = tuple(KINDS)


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
    return open_part(folder, KINDS[name], name, variant or _only_variant(folder))


def _only_variant(folder: Path) -> str | None:
    """"fp16" where half precision is all that the folder has."""
    names = [path.name for path in folder.glob("*.safetensors")]
    return "fp16" if names and all(".fp16." in name for name in names) else None


def open_part(folder: Path, kinds: Kinds, role: str, variant: str | None = None) -> Any:
    """Load whichever of the classes `kinds` the folder holds.

    Args:
        folder: has a config.json.
        kinds: the classes allowed.
        role: what the part is wanted for; named in errors.
        variant: reads `*.<variant>.safetensors`.

    Raises:
        UserError: the folder is of another class.
    """
    kind = class_in(folder)
    if kind not in kinds:
        reason = ": its codes stand for features, from which no image comes back" if kind in FEATURES_ONLY else ""
        reason = ": it has latents and no codes" if kind in CONTINUOUS else reason
        raise UserError(
            f"{folder / 'config.json'} is of a {kind}{reason}. As {role} one of {', '.join(kinds)} is needed"
        )
    from safetensors import SafetensorError

    try:
        # only classes of releases know variants
        options = {} if variant is None else {"variant": variant}
        return _class(kinds[kind]).from_pretrained(folder, **options)
    except (SafetensorError, TypeError, ValueError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{folder} does not load ({error}): is it complete, and was it changed?") from error


def class_in(folder: Path) -> str:
    """The class that a folder's config.json names; "?" where it names none.

    Raises:
        UserError: config.json is no JSON.
    """
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        return str(config.get("_class_name") or (config.get("architectures") or ["?"])[0])
    except (ValueError, AttributeError) as error:
        raise UserError(f"{path} is not the JSON of a saved part ({error})") from error


def save_part(name: str, part: Any, folder: Path, dtype: torch.dtype | None) -> list[str]:
    """Save a part and return its [module, class] for model_index.json.

    Raises:
        UserError: the part's class cannot be loaded back as `name`.
    """
    known = [entry[1] for entry in KINDS[name].values()]
    if type(part).__name__ not in known or type(part) is not _class(_entry(name, type(part).__name__)):
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


def check_grid(transformer: Any, grid: tuple[int, int]) -> None:
    """Warn of a grid of tokens on which a generator works, but not as it was trained.

    Args:
        transformer: the generator.
        grid: rows and columns of tokens.
    """
    rows, columns = grid
    if transformer.compression == 2 and (rows % 2 or columns % 2):
        warnings.warn(
            f"the model halves its grid of tokens, and {rows} x {columns} does not halve: a row of zeros is added. "
            "A height and a width of an even number of tokens look better",
            stacklevel=4,
        )
    learned = None if transformer.places is None else tuple(transformer.places.shape[2:])
    if learned is not None and learned != grid:
        warnings.warn(
            f"the model learned the positions of {learned[0]} x {learned[1]} tokens; they are stretched to {rows} x "
            f"{columns}",
            stacklevel=4,
        )


def _entry(name: str, kind: str) -> tuple[str, str]:
    return next(entry for entry in KINDS[name].values() if entry[1] == kind)


def _class(entry: tuple[str, str]) -> Any:
    module, name = entry
    return getattr(importlib.import_module(module), name)
