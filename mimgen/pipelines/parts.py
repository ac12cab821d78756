"""The parts of a saved pipeline: which class a folder holds, and how to save and load it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from mimgen.encoders import ByteTextEncoder, ClipTextEncoder
from mimgen.errors import UserError
from mimgen.generators import MeissonicTransformer
from mimgen.part import Part
from mimgen.tokenizers import ConvTokenizer, DiffusersVQ

# name of the part -> name that its config.json gives -> class
KINDS: Mapping[str, Mapping[str, Any]] = {
    "transformer": {"MeissonicTransformer": MeissonicTransformer},
    "vqvae": {"ConvTokenizer": ConvTokenizer, "VQModel": DiffusersVQ},
    "text_encoder": {"ByteTextEncoder": ByteTextEncoder, "CLIPTextModelWithProjection": ClipTextEncoder},
}


def load_part(name: str, folder: Path) -> Any:
    """Load the part `name` ("transformer", "vqvae" or "text_encoder") from its folder.

    Raises:
        UserError: no config.json there, or of a class that cannot be this part.
    """
    path = folder / "config.json"
    if not path.is_file():
        raise UserError(f"{folder} holds no config.json: the pipeline's part {name} is missing")
    config = json.loads(path.read_text(encoding="utf-8"))
    kind = config.get("_class_name") or (config.get("architectures") or ["?"])[0]
    if kind not in KINDS[name]:
        raise UserError(f"{path} is of a {kind}; as {name} one of {', '.join(KINDS[name])} is needed")
    return KINDS[name][kind].from_pretrained(folder)


def save_part(name: str, part: Any, folder: Path, dtype: torch.dtype | None) -> list[str]:
    """Save a part and return its [module, class] for model_index.json.

    Raises:
        UserError: the part's class cannot be loaded back as `name`.
    """
    if type(part) not in KINDS[name].values():
        raise UserError(f"a {type(part).__name__} cannot be saved as {name} of a pipeline folder")
    if isinstance(part, Part):
        part.save_pretrained(folder, dtype=dtype)
    else:
        part.save_pretrained(folder)
    return [type(part).__module__, type(part).__name__]
