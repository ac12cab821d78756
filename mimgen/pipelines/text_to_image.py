"""Prompt in, images out, without importing diffusers: the core of the Meissonic pipeline."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from mimgen import __version__
from mimgen.encoders import ByteTextEncoder, ClipTextEncoder, TextStates
from mimgen.errors import UserError
from mimgen.files import write_atomically
from mimgen.generators import MeissonicTransformer
from mimgen.generators.meissonic.text_sampling import TextPredictor, sample_text
from mimgen.pipelines.memory import UNBOUNDED, Memory, decode_in_slices, visiting
from mimgen.pipelines.parts import PART_NAMES, check_grid, load_part, save_part, token_grid
from mimgen.pipelines.presets import ORDERS, Preset
from mimgen.pipelines.previews import OnPreview, greyed, previewing
from mimgen.pipelines.prompts import PromptBatch, expand_prompts
from mimgen.pipelines.released import is_released, read_released
from mimgen.pipelines.strength import continued
from mimgen.sampling import Guidance, Sampled
from mimgen.sampling.sampler import OnStep
from mimgen.tokenizers import Tokenizer
from mimgen.types import SampleRNG

TextEncoder = ByteTextEncoder | ClipTextEncoder
Rows = Callable[[range], Any]  # wraps the loop over batches, for a progress bar


@dataclass(frozen=True)
class GenerationOutput:
    """What `TextToImage` returns.

    Attributes:
        images: [B, 3, H, W] float32 in [0, 1].
        tokens: [B, h, w] int64 ids.
        log_probs: [B, h, w] log probability of each generated token (for preference tuning).
        unmasked_at: [B, h, w] int64 step in which a token was generated, from 0; -1 where it was known or is masked.
    """

    images: Tensor
    tokens: Tensor
    log_probs: Tensor
    unmasked_at: Tensor


class TextToImage:
    """Text to image by iterative unmasking.

    Args:
        transformer: the generator.
        vqvae: any tokenizer of the contract.
        text_encoder: captions to states.
        preset: how to sample.
        memory: bounds on what generating needs; the parts have the number format already (see `apply_memory`).
    """

    def __init__(
        self,
        transformer: MeissonicTransformer,
        vqvae: Tokenizer,
        text_encoder: TextEncoder,
        preset: Preset,
        memory: Memory = UNBOUNDED,
    ) -> None:
        self.transformer, self.vqvae, self.text_encoder = transformer, vqvae, text_encoder
        self.preset, self.memory = preset, memory

    @classmethod
    def load(cls, folder: str | Path, *, variant: str | None = None, **components: Any) -> TextToImage:
        """Read a folder that `save` wrote, or one in the layout of Meissonic's release.

        Args:
            folder: on disk.
            variant: reads `*.<variant>.safetensors`, such as "fp16"; by default the plain files, or half precision
                where there is nothing else. The parts compute in float32 all the same.
            components: parts by name that are taken instead of those of the folder.

        Raises:
            UserError: no model_index.json, of another pipeline, or a part is missing or does not fit.
        """
        folder = Path(folder)
        if unknown := components.keys() - set(PART_NAMES):
            raise TypeError(f"not a part: {', '.join(sorted(unknown))}; there are {', '.join(PART_NAMES)}")
        released = is_released(folder)
        index = {} if released else read_index(folder)
        parts = {name: components.get(name) or load_part(name, folder / name, variant) for name in PART_NAMES}
        preset = read_released(folder, parts["transformer"]) if released else Preset.read(index)
        return cls(**parts, preset=preset)

    def save(self, folder: str | Path, *, dtype: torch.dtype | None = None) -> None:
        """Write one folder a part and `model_index.json`, which comes last and so marks it complete."""
        if self.memory.weights is not None:
            raise UserError("quantised weights cannot be saved: save the parts before they are quantised")
        folder = Path(folder)
        kinds = {name: save_part(name, getattr(self, name), folder / name, dtype) for name in PART_NAMES}
        head = {"_class_name": "MeissonicPipeline", "_mimgen_version": __version__}
        index = {**head, **asdict(self.preset), **kinds}
        write_atomically(folder / "model_index.json", json.dumps(index, indent=2) + "\n")

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of tokens of an image."""
        return token_grid(self.vqvae, *self.preset.resolution)

    def changed(self, **changes: Any) -> TextToImage:
        """The same parts with other fields of the preset.

        Raises:
            TypeError: not a field of `Preset`.
            UserError: an impossible preset.
        """
        if unknown := changes.keys() - Preset.__dataclass_fields__.keys():
            raise TypeError(f"not a field of Preset: {', '.join(sorted(unknown))}")
        preset = replace(self.preset, **changes)
        return TextToImage(self.transformer, self.vqvae, self.text_encoder, preset, self.memory)

    @torch.no_grad()
    def __call__(
        self,
        prompts: Sequence[str],
        *,
        seed: int | Sequence[int] = 0,
        negative_prompt: str | Sequence[str] = "",
        images_per_prompt: int = 1,
        initial_tokens: Tensor | None = None,
        strength: float = 1.0,
        batch_size: int = 32,
        on_step: OnStep | None = None,
        on_preview: OnPreview | None = None,
        preview_every: int = 1,
        rows: Rows = iter,
        **changes: Any,
    ) -> GenerationOutput:
        """Generate images for each prompt.

        Args:
            prompts: captions.
            seed: one for each of the B images, or one number from which each image's is derived by its
                place. An image depends on its own seed only, not on the batch.
            negative_prompt: what the unconditional branch of the guidance reads; one, or one per prompt.
            images_per_prompt: images of each prompt, which follow each other; B counts all images.
            initial_tokens: [B, h, w] or [1, h, w] int64 ids to generate onto, the transformer's mask id where
                a token is to be generated; the others stay as they are. None generates all. See `inpaint` and others in
                mimgen.pipelines.editing.
            strength: the last part of the schedule that is run, in (0, 1]; below 1 for a `initial_tokens`
                that is partly known already (see `masked_share`).
            batch_size: images computed at a time.
            on_step: called with (step, tokens [b, N]); returning True stops the sampling: what is not generated yet
                is grey, and images of later batches are left out.
            on_preview: called with a `Preview`, whose images are decoded; returning True stops likewise.
            preview_every: steps from one preview to the next.
            rows: wraps the loop over batches, for a progress bar.
            changes: fields of `Preset` that differ for this call.

        Raises:
            UserError: no prompt, as many seeds as no images, a start that does not fit, or an impossible preset.
        """
        core = self.changed(**changes) if changes else self
        wanted = expand_prompts(prompts, negative_prompt, seed, images_per_prompt)
        canvas = core._canvas(initial_tokens, strength, len(wanted))
        if batch_size < 1:
            raise UserError(f"batch_size={batch_size}: compute at least one image at a time")
        batch_size = core.memory.batch(batch_size)
        parts, images = [], []
        for first in rows(range(0, len(wanted), batch_size)):
            part = slice(first, first + batch_size)
            watch = _Watch([] if on_step is None else [on_step])
            if on_preview is not None:
                watch.callbacks.append(previewing(on_preview, preview_every, first, core.decode))
            parts.append(core._sample(wanted.part(part), canvas[part], strength, watch))
            images.append(core.decode(parts[-1].tokens))
            if watch.stopped:
                break
        return GenerationOutput(
            images=torch.cat(images),
            tokens=core._map(torch.cat([part.tokens for part in parts])),
            log_probs=core._map(torch.cat([part.log_probs for part in parts])),
            unmasked_at=core._map(torch.cat([part.unmasked_at for part in parts])),
        )

    def encode(self, images: Tensor) -> Tensor:
        """Images [B, 3, H, W] in [0, 1] to the ids [B, h, w] that `decode` reads.

        Raises:
            UserError: they do not divide into tokens, or the tokenizer gives no fixed grid of ids.
        """
        grid = token_grid(self.vqvae, *images.shape[2:])
        parameter = next(cast(nn.Module, self.vqvae).parameters(), self.transformer)
        ids = self.vqvae.encode(images.to(parameter.device, parameter.dtype)).indices
        if ids is None or ids.shape[1:].numel() != grid[0] * grid[1]:
            raise UserError(
                f"a {type(self.vqvae).__name__} does not give one id for each place: nothing to generate onto"
            )
        return ids.view(len(images), *grid).to(self.transformer.device)

    def decode(self, tokens: Tensor) -> Tensor:
        """Ids [B, N] or [B, h, w] to images [B, 3, H, W] in [0, 1]; grey where a token is still masked."""
        tokens = self._map(tokens)
        masked = tokens >= self.vqvae.codebook_size
        known = tokens.masked_fill(masked, 0)
        images = decode_in_slices(self.vqvae.decode, known, self.memory.decode_slice).float()
        return greyed(images, masked) if bool(masked.any()) else images

    def _map(self, flat: Tensor) -> Tensor:
        return flat.view(len(flat), *self.grid)

    def _canvas(self, initial_tokens: Tensor | None, strength: float, count: int) -> Tensor:
        """[count, N] ids to generate onto."""
        check_grid(self.transformer, self.grid)
        if initial_tokens is None:
            if strength != 1:
                raise UserError(f"strength {strength} needs an image to start from: see mimgen.pipelines.edit")
            initial_tokens = torch.full((1, *self.grid), self.transformer.mask_id)
        if initial_tokens.ndim != 3 or initial_tokens.shape[1:] != self.grid or len(initial_tokens) not in (1, count):
            raise UserError(
                f"initial_tokens of shape {list(initial_tokens.shape)}: give ids [{count}, {self.grid[0]}, "
                f"{self.grid[1]}] for {count} "
                "images of this resolution"
            )
        return initial_tokens.flatten(1).expand(count, -1)

    def _sample(self, wanted: PromptBatch, canvas: Tensor, strength: float, on_step: OnStep) -> Sampled:
        preset, schedule = continued(self.preset, strength)
        height, width = preset.original_size or preset.resolution
        timestep_mode: Literal["rate", "steps"] = "steps" if preset.timestep_mode == "steps" else "rate"
        return sample_text(
            TextPredictor(
                self.transformer,
                self.grid,
                *self._encoded(wanted),
                (width, height, *preset.crop, preset.score),
                preset.steps,
                timestep_mode,
                preset.speed,
            ),
            SampleRNG(wanted.seeds),
            initial_tokens=canvas,
            order=ORDERS[preset.order],
            schedule=schedule,
            choice_temperature=preset.choice_temperature,
            token_temperature=preset.token_temperature,
            guidance=Guidance(preset.guidance_scale, preset.guidance_interval),
            on_step=on_step,
        )

    def _encoded(self, wanted: PromptBatch) -> tuple[TextStates, TextStates]:
        """States of the prompts and of the negative prompts; the encoder reads equal ones once."""
        different = list(dict.fromkeys(wanted.prompts + wanted.negatives))
        with visiting(self.text_encoder, self.transformer.device, self.memory.offload):
            text = self.text_encoder.encode(different)
        row_of = {caption: number for number, caption in enumerate(different)}
        rows, others = ([row_of[caption] for caption in words] for words in (wanted.prompts, wanted.negatives))
        return TextStates(text.states[rows], text.pooled[rows]), TextStates(text.states[others], text.pooled[others])


@dataclass
class _Watch:
    """Passes each step on to the callbacks and remembers whether one of them asked to stop."""

    callbacks: list[OnStep]
    stopped: bool = False

    def __call__(self, step: int, tokens: Tensor) -> bool:
        for call in self.callbacks:
            self.stopped = bool(call(step, tokens)) or self.stopped
        return self.stopped


def read_index(folder: Path) -> dict[str, Any]:
    """The contents of model_index.json of a text-to-image folder."""
    path = folder / "model_index.json"
    if not path.is_file():
        raise UserError(f"{folder} holds no model_index.json: pass a pipeline folder, such as <run>/pipeline")
    try:
        index: dict[str, Any] = dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise UserError(f"{path} is damaged ({error}): copy or train the pipeline again") from error
    if index.get("_class_name") != "MeissonicPipeline":
        raise UserError(f"{path} describes a {index.get('_class_name')}, not a MeissonicPipeline")
    return index
