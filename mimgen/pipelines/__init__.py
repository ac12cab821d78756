"""Pipelines: prompt in, pictures out.

`TextToImage` is the core; `MeissonicPipeline` is the same as a diffusers pipeline. The latter is
imported when asked for, because importing diffusers takes longer than drawing a picture.
"""

from typing import TYPE_CHECKING, Any

from mimgen.pipelines.presets import Preset
from mimgen.pipelines.text_to_image import Drawn, TextToImage

if TYPE_CHECKING:
    from mimgen.pipelines.meissonic import MeissonicOutput, MeissonicPipeline

__all__ = ["Drawn", "MeissonicOutput", "MeissonicPipeline", "Preset", "TextToImage"]


def __getattr__(name: str) -> Any:
    if name in ("MeissonicOutput", "MeissonicPipeline"):
        from mimgen.pipelines import meissonic

        return getattr(meissonic, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
