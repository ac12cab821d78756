"""A pipeline from a generator without a tokenizer, as releases are, and a tokenizer from elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from mimgen.errors import UserError
from mimgen.generators import ClassTransformer, Generator, MageTransformer, TiTokMaskGit
from mimgen.generators.mage.model import released_preset as mage_preset
from mimgen.generators.maskgit.model import released_preset as maskgit_preset
from mimgen.generators.titok_maskgit.model import released_preset as titok_preset
from mimgen.pipelines.base import Pipeline
from mimgen.pipelines.load import pipeline_of
from mimgen.pipelines.presets import Preset
from mimgen.pretrained import load_pretrained
from mimgen.tokenizers.open import load_tokenizer

__all__ = ["assemble"]

# how the authors of each sample, for the releases that have no folder of their own for that
PRESETS: dict[type, Callable[[], dict[str, Any]]] = {
    ClassTransformer: maskgit_preset, MageTransformer: mage_preset, TiTokMaskGit: titok_preset
}  # fmt: skip


def assemble(transformer: Path, tokenizer: Path) -> Pipeline:
    """The pipeline of a generator and a tokenizer, which samples as the generator's authors do.

    Args:
        transformer: folder of the generator.
        tokenizer: folder of the tokenizer that it was trained with.

    Raises:
        UserError: a part that does not fit the other, or a generator that needs more parts.
    """
    generator, codes = load_pretrained(transformer, Generator, role="generator"), load_tokenizer(tokenizer)
    if type(generator) not in PRESETS:
        raise UserError(f"a {type(generator).__name__} needs more than a tokenizer: convert the whole release")
    if generator.codebook_size != codes.codebook_size:
        raise UserError(
            f"the generator was trained on {generator.codebook_size} codes, the tokenizer in {tokenizer} has "
            f"{codes.codebook_size}: pass the one that it was trained with"
        )
    # a 1-D tokenizer reads images of one size; the others so many pixels for each token of the generator
    side: int = codes.image_size if getattr(codes, "grid", None) else generator.side * codes.downsample  # type: ignore[attr-defined]
    preset = Preset(**{"resolution": (side, side), **PRESETS[type(generator)]()})
    pipeline = pipeline_of(preset, transformer=generator, vqvae=codes)
    generator.check_grid(pipeline.grid)
    return pipeline
