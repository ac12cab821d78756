"""Captions to images, without importing diffusers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Self

from mimgen.data import Sample
from mimgen.encoders import ByteTextEncoder, ClipTextEncoder, TextStates
from mimgen.errors import UserError
from mimgen.generators import Generator, TextCondition
from mimgen.pipelines.base import Pipeline
from mimgen.pipelines.memory import UNBOUNDED, Memory, visiting
from mimgen.pipelines.presets import Preset
from mimgen.pipelines.prompts import PromptBatch, Request
from mimgen.pipelines.released import is_released, read_released
from mimgen.tokenizers import Tokenizer

__all__ = ["TextEncoder", "TextToImagePipeline"]

TextEncoder = ByteTextEncoder | ClipTextEncoder


class TextToImagePipeline(Pipeline):
    """Text to image.

    Args:
        transformer: a generator conditioned on text.
        vqvae: any tokenizer of the contract.
        text_encoder: captions to states.
        preset: how to sample.
        memory: bounds on what generating needs; the parts have the number format already (see `apply_memory`).
    """

    conditioning = "text"
    saved_as = "MeissonicPipeline"  # the diffusers pipeline that opens the folder, too
    part_names = ("transformer", "vqvae", "text_encoder")

    def __init__(
        self,
        transformer: Generator,
        vqvae: Tokenizer,
        text_encoder: TextEncoder,
        preset: Preset,
        memory: Memory = UNBOUNDED,
    ) -> None:
        super().__init__(transformer, vqvae, preset, memory)
        self.text_encoder = text_encoder

    @classmethod
    def load(cls, folder: str | Path, *, variant: str | None = None, **components: Any) -> Self:
        """As of every pipeline; a folder in the layout of Meissonic's release is read, too."""
        if not is_released(Path(folder)):
            return super().load(folder, variant=variant, **components)
        parts = cls._load_parts(Path(folder), variant, components)
        return cls(**parts, preset=read_released(Path(folder), parts["transformer"]))

    def requests(self, requests: Sequence[Request]) -> list[Any]:
        """Captions, as they are.

        Raises:
            UserError: a class.
        """
        for each in requests:
            if not isinstance(each, str):
                raise UserError(f"{each!r} is no caption, and this model reads captions: give a prompt in quotes")
        return list(requests)

    def condition(self, wanted: PromptBatch, preset: Preset) -> TextCondition:
        """Encoded captions and what the model is told of the images."""
        height, width = preset.original_size or preset.resolution
        timestep_mode: Literal["rate", "steps"] = "steps" if preset.timestep_mode == "steps" else "rate"
        text, negative = self._encoded(wanted)
        return TextCondition(
            text=text,
            negative=negative,
            sizes=(width, height, *preset.crop, preset.score),
            steps=preset.steps,
            timestep_mode=timestep_mode,
            speed=preset.speed,
        )

    def request_of(self, sample: Sample) -> str:
        """The caption."""
        return sample.caption

    def _encoded(self, wanted: PromptBatch) -> tuple[TextStates, TextStates]:
        """States of the prompts and of the negative prompts; the encoder reads equal ones once."""
        different = list(dict.fromkeys(wanted.prompts + wanted.negatives))
        with visiting(self.text_encoder, self.transformer.device, self.memory.offload):
            text = self.text_encoder.encode(different)
        row_of = {caption: number for number, caption in enumerate(different)}
        rows, others = ([row_of[caption] for caption in words] for words in (wanted.prompts, wanted.negatives))
        return TextStates(text.states[rows], text.pooled[rows]), TextStates(text.states[others], text.pooled[others])
