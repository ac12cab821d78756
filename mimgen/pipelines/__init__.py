"""Pipelines: prompt in, images out.

`TextToImage` is the core, with `edit`, `inpaint` and `outpaint` beside it for images that are there already;
`MeissonicPipeline` is the same as a diffusers pipeline. The latter is
imported when asked for, because importing diffusers takes longer than generating an image.
"""

from typing import TYPE_CHECKING, Any

from mimgen.pipelines.editing import edit, inpaint, outpaint
from mimgen.pipelines.jobs import ImageGenerator, image_generator, write_grid, write_images
from mimgen.pipelines.memory import Memory, memory_preset
from mimgen.pipelines.presets import Preset
from mimgen.pipelines.previews import Preview
from mimgen.pipelines.request import GenerationJob, GenerationRequest, InputImages
from mimgen.pipelines.text_to_image import GenerationOutput, TextToImage

if TYPE_CHECKING:
    from mimgen.pipelines.meissonic import MeissonicOutput, MeissonicPipeline

__all__ = [
    "GenerationJob", "GenerationOutput", "GenerationRequest", "ImageGenerator", "InputImages", "MeissonicOutput",
    "MeissonicPipeline", "Memory", "Preset", "Preview", "TextToImage", "edit", "image_generator", "inpaint",
    "memory_preset", "outpaint", "write_grid", "write_images",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in ("MeissonicOutput", "MeissonicPipeline"):
        from mimgen.pipelines import meissonic

        return getattr(meissonic, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
