"""Loading a tokenizer from the folder of a run, of a pipeline, or its own."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from mimgen.errors import UserError
from mimgen.pretrained import class_name, class_of, load_pretrained
from mimgen.tokenizers.contract import ImageQuantizer, Tokenizer

__all__ = ["decodes_images", "load_image_quantizer", "load_tokenizer"]


def load_tokenizer(folder: str | Path, *, role: str = "tokenizer", variant: str | None = None) -> Tokenizer:
    """A tokenizer with a codebook, whose codes decode to images.

    Args:
        folder: of a tokenizer, a run or a pipeline.
        role: what it is wanted for; named in errors.
        variant: see `mimgen.pretrained.load_pretrained`.

    Raises:
        UserError: none of them holds a tokenizer, or one without codes or without a decoder.
    """
    reason = "its codes stand for features, from which no image can be decoded"
    if decodes_images(folder):  # asked of the class first: feature tokenizers are large
        found = load_image_quantizer(folder, role=role, variant=variant)
        if found.codebook_size:
            return cast(Tokenizer, found)
        reason = "it is continuous: it has latents and no codes"
    raise UserError(
        f"{folder} holds a {class_name(_folder_of(folder))}: {reason}. As {role} a tokenizer with codes and images "
        "is needed"
    )


def load_image_quantizer(folder: str | Path, *, role: str = "tokenizer", variant: str | None = None) -> ImageQuantizer:
    """Anything that turns images into codes or latents: tokenizers, feature tokenizers, KL autoencoders.

    Args and errors as of `load_tokenizer`.
    """
    return cast(ImageQuantizer, load_pretrained(_folder_of(folder), ImageQuantizer, role=role, variant=variant))


def decodes_images(folder: str | Path) -> bool:
    """Whether codes of the tokenizer in a folder can be decoded to images, without loading it.

    Raises:
        UserError: no tokenizer there.
    """
    inner = _folder_of(folder)
    kind = class_of(inner)
    if not callable(getattr(kind, "encode", None)) or not callable(getattr(kind, "lookup", None)):
        raise UserError(f"{inner} holds a {class_name(inner)}: pass the folder of a tokenizer")
    return callable(getattr(kind, "decode", None))


def _folder_of(folder: str | Path) -> Path:
    root = Path(folder)
    for inner in (root, root / "tokenizer", root / "vqvae", root / "pipeline" / "vqvae"):
        if (inner / "config.json").is_file():
            return inner
    raise UserError(
        f"no tokenizer in {root}; pass the --out folder of a tokenizer's run (`mimgen train` lists the configs), "
        "or a pipeline folder"
    )
