"""Prompt in, pictures out, without importing diffusers: the core of the Meissonic pipeline."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from mimgen import __version__
from mimgen.encoders import ByteTextEncoder, ClipTextEncoder, TextStates
from mimgen.errors import UserError
from mimgen.generators import MeissonicTransformer
from mimgen.generators.text_sampling import TextPredictor, sample_text
from mimgen.part import write_atomically
from mimgen.pipelines.parts import load_part, save_part, token_grid
from mimgen.pipelines.presets import ORDERS, SCHEDULES, Preset
from mimgen.pipelines.released import is_released, read_released
from mimgen.sampling import Guidance, Sampled
from mimgen.tokenizers import Tokenizer
from mimgen.types import Draws, mix_seed

TextEncoder = ByteTextEncoder | ClipTextEncoder
OnStep = Callable[[int, Tensor], bool | None]
Rows = Callable[[range], Any]  # wraps the loop over batches, for a progress bar

PARTS = ("transformer", "vqvae", "text_encoder")


@dataclass(frozen=True)
class Drawn:
    """What `TextToImage` returns.

    Attributes:
        images: [B, 3, H, W] float32 in [0, 1].
        tokens: [B, h, w] int64 ids.
        log_probs: [B, h, w] log probability of each drawn token (for preference tuning).
    """

    images: Tensor
    tokens: Tensor
    log_probs: Tensor


class TextToImage:
    """Text to image by iterative unmasking.

    Args:
        transformer: the generator.
        vqvae: any tokenizer of the contract.
        text_encoder: captions to states.
        preset: how to sample.
    """

    def __init__(
        self,
        transformer: MeissonicTransformer,
        vqvae: Tokenizer,
        text_encoder: TextEncoder,
        preset: Preset,
    ) -> None:
        self.transformer, self.vqvae, self.text_encoder = transformer, vqvae, text_encoder
        self.preset = preset

    @classmethod
    def load(cls, folder: str | Path, *, variant: str | None = None, **given: Any) -> TextToImage:
        """Read a folder that `save` wrote, or one in the layout of Meissonic's release.

        Args:
            folder: on disk.
            variant: reads `*.<variant>.safetensors`, such as "fp16"; by default the plain files, or half precision
                where there is nothing else. The parts compute in float32 all the same.
            given: parts by name that are taken instead of those of the folder.

        Raises:
            UserError: no model_index.json, of another pipeline, or a part is missing or does not fit.
        """
        folder = Path(folder)
        if given.keys() - set(PARTS):
            raise TypeError(f"not a part: {', '.join(given.keys() - set(PARTS))}; there are {', '.join(PARTS)}")
        released = is_released(folder)
        index = {} if released else read_index(folder)
        parts = {name: given.get(name) or load_part(name, folder / name, variant) for name in PARTS}
        preset = read_released(folder, parts["transformer"]) if released else Preset.read(index)
        return cls(**parts, preset=preset)

    def save(self, folder: str | Path, *, dtype: torch.dtype | None = None) -> None:
        """Write one folder a part and `model_index.json`, which comes last and so marks it complete."""
        folder = Path(folder)
        kinds = {name: save_part(name, getattr(self, name), folder / name, dtype) for name in PARTS}
        head = {"_class_name": "MeissonicPipeline", "_mimgen_version": __version__}
        index = {**head, **asdict(self.preset), **kinds}
        write_atomically(folder / "model_index.json", (json.dumps(index, indent=2) + "\n").encode())

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of tokens of a picture."""
        return token_grid(self.vqvae, *self.preset.resolution)

    @torch.no_grad()
    def __call__(
        self,
        prompts: Sequence[str],
        *,
        seed: int | Sequence[int] = 0,
        negative_prompt: str = "",
        batch_size: int = 32,
        on_step: OnStep | None = None,
        rows: Rows = iter,
        **changes: Any,
    ) -> Drawn:
        """Draw one picture for each prompt.

        Args:
            prompts: B captions.
            seed: one for each picture, or one number from which each picture's is derived by its
                place. A picture depends on its own seed only, not on the batch.
            negative_prompt: what the unconditional branch of the guidance reads.
            batch_size: pictures computed at a time.
            on_step: called with (step, tokens [b, N]); returning True stops the sampling.
            rows: wraps the loop over batches, for a progress bar.
            changes: fields of `Preset` that differ for this call.

        Raises:
            UserError: no prompt, as many seeds as no prompts, or an impossible preset.
        """
        if changes.keys() - Preset.__dataclass_fields__.keys():
            raise TypeError(
                f"not a field of Preset: {', '.join(changes.keys() - Preset.__dataclass_fields__.keys())}"
            )
        if changes:
            changed = TextToImage(
                self.transformer, self.vqvae, self.text_encoder, replace(self.preset, **changes)
            )
            return changed(prompts, seed=seed, negative_prompt=negative_prompt, batch_size=batch_size,
                           on_step=on_step, rows=rows)  # fmt: skip
        prompts, seeds = list(prompts), picture_seeds(seed, len(prompts))
        parts, pictures = [], []
        for start in rows(range(0, len(prompts), batch_size)):
            part = slice(start, start + batch_size)
            parts.append(self._sample(prompts[part], negative_prompt, seeds[part], on_step))
            pictures.append(self.decode(parts[-1].tokens))
        return Drawn(
            images=torch.cat(pictures),
            tokens=self._map(torch.cat([part.tokens for part in parts])),
            log_probs=self._map(torch.cat([part.log_probs for part in parts])),
        )

    def decode(self, tokens: Tensor) -> Tensor:
        """Ids [B, N] to pictures [B, 3, H, W] in [0, 1]; ids still masked show as code 0."""
        known = tokens.masked_fill(tokens >= self.vqvae.codebook_size, 0)
        return self.vqvae.decode(self._map(known)).float()

    def _map(self, flat: Tensor) -> Tensor:
        return flat.view(len(flat), *self.grid)

    def _sample(self, prompts: list[str], negative: str, seeds: list[int], on_step: OnStep | None) -> Sampled:
        preset, (height, width) = self.preset, self.preset.resolution
        text, other = self.text_encoder.encode(prompts), self.text_encoder.encode([negative])
        sizes = (width, height, *preset.crop, preset.score)
        negatives = _repeat(other, len(prompts))
        clock: Literal["rate", "steps"] = "steps" if preset.clock == "steps" else "rate"
        return sample_text(
            TextPredictor(self.transformer, self.grid, text, negatives, sizes, preset.steps, clock),
            Draws(seeds),
            order=ORDERS[preset.order],
            schedule=SCHEDULES[preset.schedule],
            choice_temperature=preset.choice_temperature,
            token_temperature=preset.token_temperature,
            guidance=Guidance(preset.guidance_scale, preset.guidance_interval),
            on_step=on_step,
        )


def _repeat(text: TextStates, count: int) -> TextStates:
    return TextStates(text.states.expand(count, -1, -1), text.pooled.expand(count, -1))


def picture_seeds(seed: int | Sequence[int], count: int) -> list[int]:
    """One seed for each of `count` pictures; a single picture takes a single number as it is."""
    if count == 0:
        raise UserError("no prompt given: pass at least one caption")
    if isinstance(seed, int):
        return [seed] if count == 1 else [mix_seed(seed, place) for place in range(count)]
    if len(seed) != count:
        raise UserError(
            f"{len(seed)} seeds for {count} prompts: give one for each prompt, or a single number"
        )
    return list(seed)


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
