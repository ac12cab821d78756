"""Pipelines: a prompt, a class or nothing in, images out.

`Pipeline` is the core of `TextToImagePipeline`, `ClassToImagePipeline` and `UnconditionalPipeline`; `load_pipeline`
opens a folder of any of them. `edit`, `inpaint` and `outpaint` change images that are there already.
`MeissonicPipeline` is the face that diffusers knows. It is imported when asked for, because importing diffusers
takes longer than generating an image.
"""

from typing import TYPE_CHECKING, Any

from mimgen.pipelines.base import Pipeline
from mimgen.pipelines.class_to_image import ClassToImagePipeline, UnconditionalPipeline
from mimgen.pipelines.editing import edit, inpaint, outpaint
from mimgen.pipelines.jobs import ImageGenerator, image_generator, write_grid, write_images
from mimgen.pipelines.load import load_pipeline
from mimgen.pipelines.memory import Memory, memory_preset
from mimgen.pipelines.output import GenerationOutput
from mimgen.pipelines.presets import Preset
from mimgen.pipelines.previews import Preview
from mimgen.pipelines.request import GenerationRequest, InputImages
from mimgen.pipelines.saving import GenerationJob
from mimgen.pipelines.text_to_image import TextToImagePipeline

if TYPE_CHECKING:
    from mimgen.pipelines.meissonic import MeissonicPipeline

__all__ = [
    "ClassToImagePipeline", "GenerationJob", "GenerationOutput", "GenerationRequest", "ImageGenerator", "InputImages",
    "MeissonicPipeline", "Memory", "Pipeline", "Preset", "Preview", "TextToImagePipeline", "UnconditionalPipeline",
    "edit", "image_generator", "inpaint", "load_pipeline", "memory_preset", "outpaint", "write_grid", "write_images",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name == "MeissonicPipeline":
        from mimgen.pipelines import meissonic

        return getattr(meissonic, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
