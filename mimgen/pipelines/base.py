"""What every pipeline of a masked generator shares: canvas, seeds, batches, previews, encoding and decoding."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Self, cast

import torch
from torch import Tensor, nn

from mimgen import __version__
from mimgen.data import Sample
from mimgen.errors import UserError
from mimgen.files import write_atomically
from mimgen.generators import Generator
from mimgen.generators.base import Conditioning
from mimgen.pipelines.folders import read_index
from mimgen.pipelines.memory import UNBOUNDED, Memory, decode_in_slices
from mimgen.pipelines.output import GenerationOutput
from mimgen.pipelines.parts import load_part, save_part, token_grid
from mimgen.pipelines.presets import Preset
from mimgen.pipelines.previews import OnPreview, greyed, previewing
from mimgen.pipelines.prompts import PromptBatch, Request, expand_prompts
from mimgen.pipelines.strength import continued
from mimgen.sampling import Sampled, unmask
from mimgen.sampling.sampler import OnStep
from mimgen.tokenizers import Tokenizer
from mimgen.types import SampleRNG

__all__ = ["Pipeline"]

Rows = Callable[[range], Any]  # wraps the loop over batches, for a progress bar


class Pipeline(ABC):
    """From what an image is to show to the image, by iterative unmasking.

    Args:
        transformer: the generator.
        vqvae: any tokenizer of the contract.
        preset: how to sample.
        memory: bounds on what generating needs; the parts have the number format already (see `apply_memory`).

    Attributes:
        conditioning: what its generators are conditioned on.
        saved_as: `_class_name` in model_index.json.
        part_names: the folders of a saved pipeline.

    Raises:
        UserError: a generator that is conditioned on something else.
    """

    conditioning: ClassVar[Conditioning]
    saved_as: ClassVar[str]
    part_names: ClassVar[tuple[str, ...]] = ("transformer", "vqvae")

    def __init__(
        self, transformer: Generator, vqvae: Tokenizer, preset: Preset, memory: Memory = UNBOUNDED
    ) -> None:
        if transformer.conditioning != self.conditioning:
            raise UserError(
                f"a {type(transformer).__name__} is conditioned on {transformer.conditioning}, a {type(self).__name__} "
                f"on {self.conditioning}: choose the pipeline of the generator"
            )
        self.transformer: Any = transformer
        self.vqvae, self.preset, self.memory = vqvae, preset, memory

    @abstractmethod
    def requests(self, requests: Sequence[Request]) -> list[Any]:
        """What is asked for, checked and in the form that `condition` reads.

        Raises:
            UserError: nothing that the generator is conditioned on.
        """

    @abstractmethod
    def condition(self, wanted: PromptBatch, preset: Preset) -> Any:
        """What the generator's `predictor` reads for a batch."""

    @abstractmethod
    def request_of(self, sample: Sample) -> Request:
        """What would ask for an image like this one: its caption, its class, or None."""

    @classmethod
    def load(cls, folder: str | Path, *, variant: str | None = None, **components: Any) -> Self:
        """Read a folder that `save` wrote.

        Args:
            folder: on disk.
            variant: reads `*.<variant>.safetensors`, such as "fp16"; by default the plain files, or half precision
                where there is nothing else. The parts compute in float32 all the same.
            components: parts by name that are taken instead of those of the folder.

        Raises:
            UserError: no model_index.json, of another pipeline, or a part is missing or does not fit.
        """
        index = read_index(Path(folder))
        if index.get("_class_name") != cls.saved_as:
            raise UserError(f"{Path(folder) / 'model_index.json'} describes a {index.get('_class_name')}, not a "
                            f"{cls.saved_as}")  # fmt: skip
        parts = cls._load_parts(Path(folder), variant, components)
        return cls(**parts, **cls._saved_options(index), preset=Preset.read(index))

    @classmethod
    def _load_parts(cls, folder: Path, variant: str | None, components: Mapping[str, Any]) -> dict[str, Any]:
        if unknown := components.keys() - set(cls.part_names):
            raise TypeError(f"not a part: {', '.join(sorted(unknown))}; there are {', '.join(cls.part_names)}")
        return {name: components.get(name) or load_part(name, folder / name, variant) for name in cls.part_names}

    @classmethod
    def _saved_options(cls, index: Mapping[str, Any]) -> dict[str, Any]:
        """Constructor arguments besides parts and preset, from model_index.json."""
        return {}

    def _options(self) -> dict[str, Any]:
        """The same of this pipeline, for model_index.json and for a copy with another preset."""
        return {}

    def save(self, folder: str | Path, *, dtype: torch.dtype | None = None) -> None:
        """Write one folder a part and `model_index.json`, which comes last and so marks it complete."""
        if self.memory.weights is not None:
            raise UserError("quantised weights cannot be saved: save the parts before they are quantised")
        folder = Path(folder)
        kinds = {name: save_part(name, getattr(self, name), folder / name, dtype) for name in self.part_names}
        head = {"_class_name": self.saved_as, "_mimgen_version": __version__}
        index = {**head, **asdict(self.preset), **self._options(), **kinds}
        write_atomically(folder / "model_index.json", json.dumps(index, indent=2) + "\n")

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of tokens of an image."""
        return token_grid(self.vqvae, *self.preset.resolution)

    def changed(self, **changes: Any) -> Self:
        """The same parts with other fields of the preset.

        Raises:
            TypeError: not a field of `Preset`.
            UserError: an impossible preset.
        """
        if unknown := changes.keys() - Preset.__dataclass_fields__.keys():
            raise TypeError(f"not a field of Preset: {', '.join(sorted(unknown))}")
        parts = {name: getattr(self, name) for name in self.part_names}
        return type(self)(
            **parts, **self._options(), preset=replace(self.preset, **changes), memory=self.memory
        )

    @torch.no_grad()
    def __call__(
        self,
        requests: Sequence[Request],
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
        """Generate images for each request.

        Args:
            requests: captions; numbers or names of classes; None for each image of an unconditional generator.
            seed: one for each of the B images, or one number from which each image's is derived by its
                place. An image depends on its own seed only, not on the batch.
            negative_prompt: what the unconditional branch of the guidance reads; one, or one per prompt.
            images_per_prompt: images of each request, which follow each other; B counts all images.
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
            UserError: no request or one of the wrong kind, as many seeds as no images, a start that does not fit,
                or an impossible preset.
        """
        core = self.changed(**changes) if changes else self
        expanded = expand_prompts(requests, negative_prompt, seed, images_per_prompt)
        if self.conditioning != "text" and any(expanded.negatives):
            raise UserError("a negative prompt is for models that read captions; leave it out")
        wanted = replace(expanded, prompts=core.requests(expanded.prompts))
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
        self.transformer.check_grid(self.grid)
        if initial_tokens is None:
            if strength != 1:
                raise UserError(f"strength {strength} needs an image to start from: see mimgen.pipelines.edit")
            initial_tokens = torch.full((1, *self.grid), self.transformer.mask_id)
        if initial_tokens.ndim != 3 or initial_tokens.shape[1:] != self.grid or len(initial_tokens) not in (1, count):
            raise UserError(
                f"initial_tokens of shape {list(initial_tokens.shape)}: give ids [{count}, {self.grid[0]}, "
                f"{self.grid[1]}] for {count} images of this resolution"
            )
        return initial_tokens.flatten(1).expand(count, -1)

    def _sample(self, wanted: PromptBatch, canvas: Tensor, strength: float, on_step: OnStep) -> Sampled:
        preset, schedule = continued(self.preset, strength)
        return unmask(
            self.transformer.predictor(self.condition(wanted, preset), self.grid),
            canvas.to(self.transformer.device),
            mask_id=self.transformer.mask_id,
            rng=SampleRNG(wanted.seeds),
            grid=self.grid,
            schedule=schedule,
            on_step=on_step,
            **preset.sampling(),
        )


@dataclass
class _Watch:
    """Passes each step on to the callbacks and remembers whether one of them asked to stop."""

    callbacks: list[OnStep]
    stopped: bool = False

    def __call__(self, step: int, tokens: Tensor) -> bool:
        for call in self.callbacks:
            self.stopped = bool(call(step, tokens)) or self.stopped
        return self.stopped
