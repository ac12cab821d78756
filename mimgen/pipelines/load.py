"""The pipeline of a generator, or of a folder, whichever kind it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mimgen.errors import UserError
from mimgen.generators.base import Conditioning
from mimgen.pipelines.base import Pipeline
from mimgen.pipelines.class_to_image import ClassToImagePipeline, UnconditionalPipeline
from mimgen.pipelines.folders import read_index
from mimgen.pipelines.presets import Preset
from mimgen.pipelines.released import is_released
from mimgen.pipelines.text_to_image import TextToImagePipeline

__all__ = ["conditioning_in", "load_pipeline", "pipeline_of"]

KINDS: tuple[type[Pipeline], ...] = (TextToImagePipeline, ClassToImagePipeline, UnconditionalPipeline)


def load_pipeline(folder: str | Path, **options: Any) -> Pipeline:
    """Read a folder that `Pipeline.save` wrote, or one in the layout of Meissonic's release.

    Args:
        folder: on disk.
        options: as for `Pipeline.load`.

    Raises:
        UserError: no model_index.json, of a pipeline that is not known, or a part is missing or does not fit.
    """
    return _kind_in(Path(folder)).load(folder, **options)


def conditioning_in(folder: Path) -> Conditioning:
    """What the pipeline in a folder is conditioned on.

    Raises:
        UserError: no model_index.json, or of a pipeline that is not known.
    """
    return _kind_in(folder).conditioning


def _kind_in(folder: Path) -> type[Pipeline]:
    if is_released(folder):
        return TextToImagePipeline
    name = read_index(folder).get("_class_name")
    for kind in KINDS:
        if kind.saved_as == name:
            return kind
    known = ", ".join(kind.saved_as for kind in KINDS)
    raise UserError(f"{folder / 'model_index.json'} describes a {name}, and pipelines are of {known}")


def pipeline_of(preset: Preset, **parts: Any) -> Pipeline:
    """The pipeline that a generator's conditioning asks for.

    Args:
        preset: how to sample.
        parts: of the pipeline, `transformer` and `vqvae` among them.
    """
    conditioning = parts["transformer"].conditioning
    kind = next(kind for kind in KINDS if kind.conditioning == conditioning)
    return kind(**parts, preset=preset)
