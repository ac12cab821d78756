"""Prompt in, pictures out: the Meissonic pipeline as a diffusers `DiffusionPipeline`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from diffusers.pipelines.pipeline_utils import DiffusionPipeline
from diffusers.utils import BaseOutput
from PIL import Image
from torch import Tensor

from mimgen.encoders import ByteTextEncoder, TextStates
from mimgen.errors import UserError
from mimgen.generators import MeissonicTransformer
from mimgen.pipelines.presets import ORDERS, SCHEDULES
from mimgen.sampling import Guidance, Sampled, unmask
from mimgen.types import Draws, mix_seed

OnStep = Callable[[int, Tensor], bool | None]


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
    """Text to image by iterative unmasking.

    The sampling preset is saved with the weights, so a loaded folder samples as it was evaluated.

    Args:
        transformer: the generator.
        vqvae: any tokenizer of the contract.
        text_encoder: `ByteTextEncoder`.
        resolution: (height, width) in pixels of a picture.
        steps: unmasking steps.
        guidance_scale: classifier-free guidance; 1 turns it off.
        order: "confidence", "halton", "random" or "raster".
        schedule: "cosine", "linear" or "arccos".
        choice_temperature: Gumbel noise on the confidence at the first and last step.
        token_temperature: divides the logits before a token is drawn.
    """

    model_cpu_offload_seq = "text_encoder->transformer->vqvae"

    def __init__(
        self,
        transformer: MeissonicTransformer,
        vqvae: Any,
        text_encoder: ByteTextEncoder,
        resolution: tuple[int, int] = (64, 64),
        steps: int = 16,
        guidance_scale: float = 3.0,
        order: str = "halton",
        schedule: str = "cosine",
        choice_temperature: tuple[float, float] = (2.0, 0.0),
        token_temperature: float = 1.0,
    ) -> None:
        super().__init__()
        self.register_modules(transformer=transformer, vqvae=vqvae, text_encoder=text_encoder)
        self.register_to_config(
            resolution=tuple(resolution),
            steps=steps,
            guidance_scale=guidance_scale,
            order=order,
            schedule=schedule,
            choice_temperature=tuple(choice_temperature),
            token_temperature=token_temperature,
        )
        _choice("order", order, ORDERS)
        _choice("schedule", schedule, SCHEDULES)

    @torch.no_grad()
    def __call__(
        self,
        prompt: str | Sequence[str],
        *,
        negative_prompt: str = "",
        seed: int | Sequence[int] = 0,
        steps: int | None = None,
        guidance_scale: float | None = None,
        guidance_interval: tuple[float, float] = (0.0, 1.0),
        order: str | None = None,
        token_temperature: float | None = None,
        batch_size: int = 32,
        output_type: Literal["pil", "pt"] = "pil",
        callback_on_step_end: OnStep | None = None,
    ) -> MeissonicOutput:
        """Make one picture for each prompt.

        Args:
            prompt: one caption or B captions.
            negative_prompt: what the unconditional branch of the guidance reads.
            seed: one for each picture, or one number from which each picture's is derived by its
                place. A picture depends on its own seed only, not on the batch.
            steps, guidance_scale, order, token_temperature: override the saved preset.
            guidance_interval: part of the steps in which guidance is on, as shares in [0, 1].
            batch_size: pictures computed at a time.
            output_type: "pil" or "pt".
            callback_on_step_end: called with (step, tokens [b, N]); returning True stops the sampling.

        Raises:
            UserError: for an empty prompt list, fewer than one step or as many seeds as no prompts.
        """
        prompts = [prompt] if isinstance(prompt, str) else list(prompt)
        seeds = _seeds(seed, len(prompts))
        guidance = Guidance(
            self.config.guidance_scale if guidance_scale is None else guidance_scale, guidance_interval
        )
        options = {
            "steps": self.config.steps if steps is None else steps,
            "guidance": guidance,
            "order": _choice("order", order or self.config.order, ORDERS),
            "token_temperature": self.config.token_temperature
            if token_temperature is None
            else token_temperature,
            "on_step": callback_on_step_end,
        }
        parts, pictures = [], []
        for start in self.progress_bar(range(0, len(prompts), batch_size)):
            rows = slice(start, start + batch_size)
            parts.append(self._sample(prompts[rows], negative_prompt, seeds[rows], options))
            pictures.append(self.decode(parts[-1].tokens))
        return MeissonicOutput(
            images=_pictures(torch.cat(pictures), output_type),
            tokens=self._grid(torch.cat([part.tokens for part in parts])),
            log_probs=self._grid(torch.cat([part.log_probs for part in parts])),
        )

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of tokens of a picture."""
        height, width = self.config.resolution
        return height // self.vqvae.downsample, width // self.vqvae.downsample

    def _grid(self, flat: Tensor) -> Tensor:
        return flat.view(len(flat), *self.grid)

    def decode(self, tokens: Tensor) -> Tensor:
        """Ids [B, N] to pictures [B, 3, H, W] in [0, 1]; ids still masked show as code 0."""
        known = tokens.masked_fill(tokens >= self.vqvae.codebook_size, 0)
        return self.vqvae.decode(self._grid(known)).float()

    def _sample(
        self, prompts: list[str], negative: str, seeds: list[int], options: dict[str, Any]
    ) -> Sampled:
        predict = _Predictor(self, self.text_encoder.encode(prompts), self.text_encoder.encode([negative]))
        masked = torch.full(
            (len(prompts), self.grid[0] * self.grid[1]), self.transformer.mask_id, device=self.device
        )
        return unmask(
            predict,
            masked,
            mask_id=self.transformer.mask_id,
            draws=Draws(seeds),
            grid=self.grid,
            schedule=SCHEDULES[self.config.schedule],
            choice_temperature=self.config.choice_temperature,
            **options,
        )


class _Predictor:
    """The transformer as the sampler's `predict` callable."""

    def __init__(self, pipeline: MeissonicPipeline, text: TextStates, negative: TextStates) -> None:
        self.pipeline, self.text = pipeline, text
        rows = len(text.pooled)
        self.negative = TextStates(negative.states.expand(rows, -1, -1), negative.pooled.expand(rows, -1))

    def __call__(
        self, tokens: Tensor, positions: Tensor, step: int, guided: bool
    ) -> Tensor | tuple[Tensor, Tensor]:
        if not guided:
            return self._logits(tokens, positions, self.text)
        both = TextStates(
            *(torch.cat([getattr(t, f) for t in (self.text, self.negative)]) for f in ("states", "pooled"))
        )
        conditional, unconditional = self._logits(tokens.repeat(2, 1), positions.repeat(2, 1), both).chunk(2)
        return conditional, unconditional

    def _logits(self, tokens: Tensor, positions: Tensor, text: TextStates) -> Tensor:
        transformer, (height, width) = self.pipeline.transformer, self.pipeline.config.resolution
        # the share still masked, the same quantity that the model was told in training
        rate = (tokens == transformer.mask_id).float().mean(1)
        sizes = torch.tensor([width, height, 0, 0, 6], dtype=torch.float32, device=tokens.device)
        grid = tokens.view(len(tokens), *self.pipeline.grid)
        return transformer(
            grid, text.states, text.pooled, rate, sizes.expand(len(tokens), -1), positions=positions
        )


def _choice(what: str, name: str, known: dict[str, Any]) -> Any:
    if name not in known:
        raise UserError(f'{what} must be one of {", ".join(known)}, got "{name}"')
    return known[name]


def _seeds(seed: int | Sequence[int], count: int) -> list[int]:
    if count == 0:
        raise UserError("no prompt given: pass at least one caption")
    if isinstance(seed, int):
        return [seed] if count == 1 else [mix_seed(seed, place) for place in range(count)]
    if len(seed) != count:
        raise UserError(
            f"{len(seed)} seeds for {count} prompts: give one for each prompt, or a single number"
        )
    return list(seed)


def _pictures(images: Tensor, output_type: str) -> list[Image.Image] | Tensor:
    if output_type == "pt":
        return images
    if output_type != "pil":
        raise UserError(f'output_type must be "pil" or "pt", got "{output_type}"')
    array = (images * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
    return [Image.fromarray(picture) for picture in array]
