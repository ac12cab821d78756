"""The Meissonic pipeline as a diffusers `DiffusionPipeline`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, Self

import torch
from diffusers.pipelines.pipeline_utils import DiffusionPipeline
from PIL import Image
from torch import Tensor

from mimgen.errors import UserError
from mimgen.generators import MeissonicTransformer
from mimgen.pipelines.editing import edit, inpaint, outpaint
from mimgen.pipelines.images import to_mask, to_pil, to_tensor
from mimgen.pipelines.memory import UNBOUNDED, Memory, apply_memory, move_parts
from mimgen.pipelines.output import GenerationOutput
from mimgen.pipelines.presets import Preset
from mimgen.pipelines.previews import OnPreview
from mimgen.pipelines.text_to_image import TextEncoder, TextToImagePipeline
from mimgen.sampling.sampler import OnStep
from mimgen.tokenizers import Tokenizer

OutputType = Literal["pil", "pt"]
Images = Image.Image | Sequence[Image.Image] | Tensor
# what diffusers calls an argument -> what the core calls it
CORE_NAMES: Mapping[str, str] = {
    "num_images_per_prompt": "images_per_prompt",
    "callback_on_step_end": "on_step",
    "callback_on_preview": "on_preview",
}


class MeissonicPipeline(DiffusionPipeline):
    """Text to image by iterative unmasking; whoever knows diffusers knows this class.

    Args:
        transformer: the generator.
        vqvae: any tokenizer of the contract.
        text_encoder: `ByteTextEncoder` or `ClipTextEncoder`.
        preset: how to sample, saved with the weights; `Preset()` when None.
    """

    def __init__(
        self,
        transformer: MeissonicTransformer,
        vqvae: Tokenizer,
        text_encoder: TextEncoder,
        preset: Preset | None = None,
    ) -> None:
        super().__init__()
        self.register_modules(transformer=transformer, vqvae=vqvae, text_encoder=text_encoder)
        self.preset, self.memory = preset or Preset(), UNBOUNDED
        # under its argument's name: diffusers takes every other entry for a part when it moves the pipeline
        self.register_to_config(preset=asdict(self.preset))

    @property
    def core(self) -> TextToImagePipeline:
        """The same parts without diffusers around them."""
        return TextToImagePipeline(self.transformer, self.vqvae, self.text_encoder, self.preset, self.memory)

    @classmethod
    def from_pretrained(
        cls,
        folder: str | Path,
        *,
        variant: str | None = None,
        torch_dtype: torch.dtype | None = None,
        memory: float | Memory | None = None,
        **parts: Any,
    ) -> MeissonicPipeline:
        """Load a folder on disk: one that `save_pretrained` wrote, or Meissonic's release as it was downloaded.

        Args:
            folder: the folder.
            variant: reads `*.<variant>.safetensors`, such as "fp16"; by default the plain files, or half precision
                where there is nothing else.
            torch_dtype: number format in which the parts compute; float32 when None.
            memory: gigabytes of the card, or settings of your own, which bound what generating needs (see
                `mimgen.pipelines.memory`); they have a number format, too.
            parts: transformer, vqvae or text_encoder that is taken instead of the folder's. The authors of
                Meissonic advise the text encoder of the original CLIP ViT-H.

        Raises:
            UserError: not a folder of this pipeline, or a part is missing or does not fit.
        """
        core = TextToImagePipeline.load(folder, variant=variant, **parts)
        made = cls(core.transformer, core.vqvae, core.text_encoder, core.preset)  # type: ignore[arg-type]
        made = made if torch_dtype is None else made.to(torch_dtype)
        made.memory = Memory.of(memory)
        apply_memory(made.transformer, (made.vqvae, made.text_encoder), made.memory)
        return made

    def to(self, *where: Any, **named: Any) -> Self:
        """As of every diffusers pipeline; a text encoder that only visits (`Memory.offload`) stays on the CPU.

        Args:
            where: device, number format or both.
            named: the same by name.
        """
        if not self.memory.offload:
            return super().to(*where, **named)
        named = {name: value for name, value in named.items() if name in ("device", "dtype")}
        move_parts((self.transformer, self.vqvae), self.text_encoder, self.memory, *where, **named)
        return self

    def enable_model_cpu_offload(self, gpu_id: int | None = None, device: torch.device | str | None = None) -> None:
        """The text encoder rests on the CPU from now on and visits the device; the other parts move there.

        The hooks of diffusers wait for calls of `forward`, and no part of this pipeline is called by it. `memory` of
        `from_pretrained` saves more: number format, weights in 8 bits, decoding in slices.

        Args:
            gpu_id: number of the card; 0 when None.
            device: on which is generated; the card when None.

        Raises:
            UserError: no device is given, and there is no card.
        """
        if device is None and not torch.cuda.is_available():
            raise UserError("offloading needs a graphics card, and there is none: pass device=, or leave it out")
        target_device = torch.device("cuda" if device is None else device)
        self.memory = replace(self.memory, offload=True)
        self.to(target_device if gpu_id is None else torch.device(target_device.type, gpu_id))

    def enable_sequential_cpu_offload(self, *where: Any, **named: Any) -> None:
        """Not for this pipeline: the hooks of diffusers wait for calls of `forward`.

        Raises:
            UserError: always.
        """
        raise UserError(
            "layer by layer this pipeline does not offload: pass memory= to from_pretrained, gigabytes of the card or "
            "a Memory, or call enable_model_cpu_offload"
        )

    def save_pretrained(self, folder: str | Path, *, dtype: torch.dtype | None = None) -> None:
        """Write the folder that `from_pretrained` loads: safetensors and JSON."""
        self.core.save(folder, dtype=dtype)

    def __call__(
        self,
        prompt: str | Sequence[str],
        *,
        negative_prompt: str | Sequence[str] = "",
        num_images_per_prompt: int = 1,
        height: int | None = None,
        width: int | None = None,
        seed: int | Sequence[int] = 0,
        steps: int | None = None,
        guidance_scale: float | None = None,
        batch_size: int = 32,
        output_type: OutputType = "pil",
        callback_on_step_end: OnStep | None = None,
        callback_on_preview: OnPreview | None = None,
        preview_every: int = 1,
        **changes: Any,
    ) -> GenerationOutput:
        """Generate images for each prompt.

        Args:
            prompt: one caption or several.
            negative_prompt: what the unconditional branch of the guidance reads; one, or one per prompt.
            num_images_per_prompt: images of each prompt, which follow each other.
            height: of the images in pixels, a multiple of a token's side; by default the preset's.
            width: likewise.
            seed: one for each image, or one number from which each image's is derived by its
                place. An image depends on its own seed only, not on the batch.
            steps: in which an image is made; by default the preset's.
            guidance_scale: 1 is off; by default the preset's.
            batch_size: images computed at a time.
            output_type: "pil" or "pt".
            callback_on_step_end: called with (step, tokens [b, N]); returning True stops the sampling, and
                images of later batches are left out.
            callback_on_preview: called with a `Preview`, whose images are decoded; returning True stops likewise.
            preview_every: steps from one preview to the next.
            **changes: further fields of `Preset` (order, schedule, token_temperature, crop, original_size, score, ...).

        Raises:
            UserError: for an empty prompt list, fewer than one step, as many seeds as no images, or a size that does
                not divide into tokens.
        """
        own = self.preset.resolution
        if height is not None or width is not None:
            changes["resolution"] = (own[0] if height is None else height, own[1] if width is None else width)
        return self._run(
            self.core,
            prompt,
            output_type=output_type,
            negative_prompt=negative_prompt,
            num_images_per_prompt=num_images_per_prompt,
            seed=seed,
            steps=steps,
            guidance_scale=guidance_scale,
            batch_size=batch_size,
            callback_on_step_end=callback_on_step_end,
            callback_on_preview=callback_on_preview,
            preview_every=preview_every,
            **changes,
        )

    def edit(
        self, prompt: str | Sequence[str], image: Images, *, strength: float = 0.6, **options: Any
    ) -> GenerationOutput:
        """Generate an image again after a prompt (image to image); see `mimgen.pipelines.edit`.

        Args:
            prompt: one caption or several.
            image: one image, or one per prompt, of the size that the result has; tensors [B, 3, H, W] in [0, 1].
            strength: in (0, 1]; the higher, the less is left of the image.
            options: as for generating without an image.
        """
        return self._run(partial(edit, self.core), prompt, to_tensor(image), strength=strength, **options)

    def inpaint(
        self, prompt: str | Sequence[str], image: Images, mask: Images, **options: Any
    ) -> GenerationOutput:
        """Generate anew what is white in a mask; see `mimgen.pipelines.inpaint`.

        Args:
            prompt: one caption or several, of the whole image.
            image: as for `edit`.
            mask: of the same size, white where the image is generated anew; tensors [B, H, W] in [0, 1].
            options: strength, dilate, feather, and as for generating without an image.
        """
        return self._run(partial(inpaint, self.core), prompt, to_tensor(image), to_mask(mask), **options)

    def outpaint(
        self, prompt: str | Sequence[str], image: Images, margins: tuple[int, int, int, int], **options: Any
    ) -> GenerationOutput:
        """Generate what lies around an image; see `mimgen.pipelines.outpaint`.

        Args:
            prompt: one caption or several, of the whole image.
            image: as for `edit`.
            margins: pixels by which it grows on the left, top, right and bottom: multiples of a token's side.
            options: dilate, feather, and as for generating without an image.
        """
        return self._run(partial(outpaint, self.core), prompt, to_tensor(image), margins, **options)

    @torch.no_grad()
    def _run(
        self,
        generate: Callable[..., GenerationOutput],
        prompt: str | Sequence[str],
        *arguments: Any,
        output_type: OutputType = "pil",
        **options: Any,
    ) -> GenerationOutput:
        """Call `generate` with the options under the names of the core."""
        if output_type not in ("pil", "pt"):
            raise UserError(f'output_type must be "pil" or "pt", got "{output_type}"')
        if options.keys() & {"height", "width"}:
            raise UserError("height and width are those of the image: scale the image, and leave them out")
        output = generate(
            [prompt] if isinstance(prompt, str) else list(prompt),
            *arguments,
            rows=self.progress_bar,
            **{CORE_NAMES.get(name, name): value for name, value in options.items() if value is not None},
        )
        return output if output_type == "pt" else replace(output, images=to_pil(output.images))
