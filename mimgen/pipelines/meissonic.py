"""The Meissonic pipeline as a diffusers `DiffusionPipeline`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from diffusers.pipelines.pipeline_utils import DiffusionPipeline
from diffusers.utils import BaseOutput
from PIL import Image
from torch import Tensor

from mimgen.errors import UserError
from mimgen.generators import MeissonicTransformer
from mimgen.pipelines.presets import Preset
from mimgen.pipelines.text_to_image import OnStep, TextEncoder, TextToImage
from mimgen.tokenizers import Tokenizer


@dataclass
class MeissonicOutput(BaseOutput):
    """What a call returns.

    Attributes:
        images: B PIL pictures, or [B, 3, H, W] in [0, 1] for output_type "pt".
        tokens: [B, h, w] int64 ids.
        log_probs: [B, h, w] log probability of each drawn token (for preference tuning).
    """

    images: list[Image.Image] | Tensor
    tokens: Tensor
    log_probs: Tensor


class MeissonicPipeline(DiffusionPipeline):
    """Text to image by iterative unmasking; whoever knows diffusers knows this class.

    Args:
        transformer: the generator.
        vqvae: any tokenizer of the contract.
        text_encoder: `ByteTextEncoder` or `ClipTextEncoder`.
        preset: how to sample, saved with the weights; `Preset()` when None.
    """

    model_cpu_offload_seq = "text_encoder->transformer->vqvae"

    def __init__(
        self,
        transformer: MeissonicTransformer,
        vqvae: Tokenizer,
        text_encoder: TextEncoder,
        preset: Preset | None = None,
    ) -> None:
        super().__init__()
        self.register_modules(transformer=transformer, vqvae=vqvae, text_encoder=text_encoder)
        self.preset = preset or Preset()
        # under its argument's name: diffusers takes every other entry for a part when it moves the pipeline
        self.register_to_config(preset=asdict(self.preset))

    @property
    def core(self) -> TextToImage:
        """The same parts without diffusers around them."""
        return TextToImage(self.transformer, self.vqvae, self.text_encoder, self.preset)

    @classmethod
    def from_pretrained(
        cls, folder: str | Path, *, variant: str | None = None, torch_dtype: torch.dtype | None = None, **parts: Any
    ) -> MeissonicPipeline:
        """Load a folder on disk: one that `save_pretrained` wrote, or Meissonic's release as it was downloaded.

        Args:
            folder: the folder.
            variant: reads `*.<variant>.safetensors`, such as "fp16"; by default the plain files, or half precision
                where there is nothing else.
            torch_dtype: number format in which the parts compute; float32 when None.
            parts: transformer, vqvae or text_encoder that is taken instead of the folder's. The authors of
                Meissonic advise the text encoder of the original CLIP ViT-H.

        Raises:
            UserError: not a folder of this pipeline, or a part is missing or does not fit.
        """
        core = TextToImage.load(folder, variant=variant, **parts)
        made = cls(core.transformer, core.vqvae, core.text_encoder, core.preset)  # type: ignore[arg-type]
        return made if torch_dtype is None else made.to(torch_dtype)

    def save_pretrained(self, folder: str | Path, *, dtype: torch.dtype | None = None) -> None:
        """Write the folder that `from_pretrained` loads: safetensors and JSON."""
        self.core.save(folder, dtype=dtype)

    @torch.no_grad()
    def __call__(
        self,
        prompt: str | Sequence[str],
        *,
        negative_prompt: str = "",
        seed: int | Sequence[int] = 0,
        steps: int | None = None,
        guidance_scale: float | None = None,
        batch_size: int = 32,
        output_type: Literal["pil", "pt"] = "pil",
        callback_on_step_end: OnStep | None = None,
        **changes: Any,
    ) -> MeissonicOutput:
        """Make one picture for each prompt.

        Args:
            prompt: one caption or B captions.
            negative_prompt: what the unconditional branch of the guidance reads.
            seed: one for each picture, or one number from which each picture's is derived by its
                place. A picture depends on its own seed only, not on the batch.
            steps, guidance_scale: override the saved preset, as do further fields of `Preset`
                (order, schedule, token_temperature, ...).
            batch_size: pictures computed at a time.
            output_type: "pil" or "pt".
            callback_on_step_end: called with (step, tokens [b, N]); returning True stops the sampling.

        Raises:
            UserError: for an empty prompt list, fewer than one step or as many seeds as no prompts.
        """
        if output_type not in ("pil", "pt"):
            raise UserError(f'output_type must be "pil" or "pt", got "{output_type}"')
        given = {"steps": steps, "guidance_scale": guidance_scale, **changes}
        drawn = self.core(
            [prompt] if isinstance(prompt, str) else list(prompt),
            seed=seed,
            negative_prompt=negative_prompt,
            batch_size=batch_size,
            on_step=callback_on_step_end,
            rows=self.progress_bar,
            **{name: value for name, value in given.items() if value is not None},
        )
        images = drawn.images if output_type == "pt" else to_pil(drawn.images)
        return MeissonicOutput(images=images, tokens=drawn.tokens, log_probs=drawn.log_probs)


def to_pil(images: Tensor) -> list[Image.Image]:
    """[B, 3, H, W] in [0, 1] to B pictures."""
    array = (images * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
    return [Image.fromarray(picture) for picture in array]
