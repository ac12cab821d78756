"""How each row of `python -m tests.bench generate` generates, and what that takes: seconds, memory, operations."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from mimgen.encoders import TextStates
from mimgen.generators import MeissonicTransformer
from mimgen.layers.attention import attention_backend
from mimgen.sampling import Cosine, Guidance, unmask
from mimgen.sampling.confidence import choice_temperatures, scheduler_step
from mimgen.sampling.guidance import combine
from mimgen.types import SampleRNG
from tests.bench.generate_peers import peer, sample
from tests.bench.generate_rows import Row
from tests.bench.generate_shapes import SHAPES, Shape, encode, pipeline, transformer
from tests.bench.peak_memory import measured_in_child

__all__ = ["Cost", "GenerationBench", "Setting", "cost", "operations", "plain_loop"]

_CHOICE = (2.0, 0.0)  # temperatures of all rows, those of diffusers' scheduler
Run = Callable[[], Tensor]


@dataclass(frozen=True)
class Setting:
    """How images are generated.

    Attributes:
        batch: images at a time.
        steps: unmasking steps.
        guidance: scale; 1 is off.
        device: "cpu" or "cuda".
        precision: of weights and states, "fp32", "bf16" or "fp64".
        seed: of the weights and of the first image.
    """

    batch: int = 1
    steps: int = 48
    guidance: float = 9.0
    device: str = "cpu"
    precision: str = "fp32"
    seed: int = 0

    @property
    def dtype(self) -> torch.dtype:
        """Of weights and states."""
        return {"fp32": torch.float32, "bf16": torch.bfloat16, "fp64": torch.float64}[self.precision]

    @property
    def seeds(self) -> list[int]:
        """One per image."""
        return [self.seed + row for row in range(self.batch)]


@dataclass(frozen=True)
class Cost:
    """What generating takes.

    Attributes:
        memory: bytes at most, on top of the weights.
        operations: of the whole batch; None where they cannot be counted.
    """

    memory: int
    operations: float | None


@dataclass(frozen=True)
class GenerationBench:
    """Generates with the models of one shape, which rows share.

    Attributes:
        shape: of all models.
        setting: how is generated.
        models: those built so far.
    """

    shape: Shape
    setting: Setting
    models: dict[str, nn.Module] = field(default_factory=dict)

    def prepare(self, row: Row) -> Run:
        """What generates as the row says: ids [B, h, w] on the CPU."""
        setting, text, negative = self.setting, self._text("an image"), self._text("")
        if row.kind == "peer":
            other = self.model(row)
            return lambda: sample(
                other, self.shape, text, negative, setting.steps, setting.guidance, setting.seed
            ).cpu()
        model: Any = self.model(row)
        if row.loop == "pipeline":
            preset = {"order": "confidence", "steps": setting.steps, "choice_temperature": _CHOICE, **row.preset}
            generated = pipeline(self.shape, model, guidance_scale=setting.guidance, **preset)
            prompts = _prompts("an image", setting.batch)
            return lambda: generated(prompts, seed=setting.seeds, batch_size=setting.batch).tokens.cpu()
        if row.loop == "masked":
            return lambda: self._masked(model, text, negative).cpu()
        batched = row.loop == "batched"
        return lambda: plain_loop(model, self.shape, text, negative, setting, batched).cpu()

    def warmed(self, row: Row) -> Run:
        """The same, run once: few steps, or all where a compiler must meet every shape."""
        run = self.prepare(row)
        if row.compiled:
            run()
            return run
        short = min(2, self.setting.steps)
        brief = replace(row, preset={**row.preset, **({"steps": short} if row.loop == "pipeline" else {})})
        GenerationBench(self.shape, replace(self.setting, steps=short), self.models).prepare(brief)()
        return run

    def _text(self, words: str) -> TextStates:
        text = encode(self.shape, _prompts(words, self.setting.batch) if words else [""] * self.setting.batch)
        to: tuple[Any, ...] = (self.setting.device, self.setting.dtype)
        return TextStates(text.states.to(*to), text.pooled.to(*to))

    def model(self, row: Row) -> nn.Module:
        """The model that a row generates with."""
        name = row.name if row.kind == "peer" else row.weights
        if name not in self.models:
            self.models[name] = self._build(row)
        return self.models[name]

    def _build(self, row: Row) -> nn.Module:
        setting = self.setting
        if row.kind == "peer":
            return peer(row.name, self.shape, setting.seed).to(setting.device, setting.dtype)
        model = transformer(self.shape, setting.seed).to(setting.device, setting.dtype)
        return with_weights(model, row)

    def _masked(self, model: MeissonicTransformer, text: TextStates, negative: TextStates) -> Tensor:
        setting, shape = self.setting, self.shape
        passes = _TwoPasses(model, shape, text, negative)
        masked = torch.full((setting.batch, shape.tokens), shape.mask_id, device=setting.device)
        generated = unmask(
            passes, masked, mask_id=shape.mask_id, steps=setting.steps, rng=SampleRNG(setting.seeds), grid=shape.grid,
            choice_temperature=_CHOICE, guidance=Guidance(setting.guidance),
        )  # fmt: skip
        return generated.tokens.view(-1, *shape.grid)


def _prompts(words: str, count: int) -> list[str]:
    return [f"{words} {row}" for row in range(count)]


def with_weights(model: MeissonicTransformer, row: Row) -> MeissonicTransformer:
    """The model with its weights in the form that the row asks for; a copy where that changes it."""
    if row.weights == "bf16":
        return deepcopy(model).to(torch.bfloat16)
    if row.weights == "int8":
        from mimgen.pipelines.memory import quantize_weights

        changed = deepcopy(model)
        quantize_weights(changed, "int8")
        return changed
    return model


@dataclass(frozen=True)
class _TwoPasses:
    """The transformer as the sampler's `predict`, one pass for the caption and one for the negative."""

    model: MeissonicTransformer
    shape: Shape
    text: TextStates
    negative: TextStates

    def __call__(
        self, tokens: Tensor, positions: Tensor, step: int, guided: bool
    ) -> Tensor | tuple[Tensor, Tensor]:
        conditional = self._pass(tokens, positions, self.text)
        return (conditional, self._pass(tokens, positions, self.negative)) if guided else conditional

    def _pass(self, tokens: Tensor, positions: Tensor, text: TextStates) -> Tensor:
        grid, rate = tokens.view(-1, *self.shape.grid), (tokens == self.shape.mask_id).float().mean(1)
        sizes = torch.tensor(self.shape.sizes, device=tokens.device).expand(len(tokens), -1)
        return self.model(grid, text.states, text.pooled, rate, sizes, positions=positions)


@torch.no_grad()
def plain_loop(
    model: MeissonicTransformer,
    shape: Shape,
    text: TextStates,
    negative: TextStates,
    setting: Setting,
    batched: bool = False,
) -> Tensor:
    """Ids [B, h, w] by the released scheduler's step, everything computed in every step for all tokens.

    Args:
        model: called as its public `forward`.
        shape: of the model.
        text: of B captions.
        negative: of what the unconditional branch reads.
        setting: steps, guidance and seeds.
        batched: guidance in one pass of twice the images instead of two.
    """
    rng, device, steps = SampleRNG(setting.seeds), text.states.device, setting.steps
    tokens = torch.full((setting.batch, shape.tokens), shape.mask_id, device=device)
    temperatures, texts = choice_temperatures(_CHOICE, steps), [text, negative]
    if setting.guidance == 1:
        texts = [text]
    elif batched:
        pairs = (text.states, negative.states), (text.pooled, negative.pooled)
        texts = [TextStates(*(torch.cat(pair) for pair in pairs))]
    for step in range(steps):
        token_uniform, choice_uniform = rng.uniform(2, shape.tokens).to(device).unbind(1)
        found = [_all_logits(model, shape, tokens, each) for each in texts]
        logits, *rest = (part for each in found for part in each.split(setting.batch))
        tokens = scheduler_step(
            combine(logits, rest[0], setting.guidance) if rest else logits,
            tokens,
            step=step,
            steps=steps,
            mask_id=shape.mask_id,
            schedule=Cosine(),
            temperature=float(temperatures[step]),
            token_uniform=token_uniform.flatten(),
            choice_uniform=choice_uniform,
        ).tokens
    return tokens.view(-1, *shape.grid)


def _all_logits(model: MeissonicTransformer, shape: Shape, tokens: Tensor, text: TextStates) -> Tensor:
    """[R, N, K] of as many rows as `text` has, a multiple of those of `tokens`."""
    shown = tokens.repeat(len(text.states) // len(tokens), 1)
    sizes = torch.tensor(shape.sizes, device=tokens.device).expand(len(shown), -1)
    rate = (shown == shape.mask_id).float().mean(1)
    return model(shown.view(-1, *shape.grid), text.states, text.pooled, rate, sizes)


def cost(row: Row, shape: Shape, setting: Setting) -> Cost:
    """Memory and operations of generating, on a CPU in a process of its own."""
    if setting.device == "cpu":
        measured = measured_in_child(_to_measure, (row, shape, setting))
        assert measured.result is None or isinstance(measured.result, float)
        return Cost(measured.peak, measured.result)
    run = GenerationBench(shape, setting).warmed(row)
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    run()
    return Cost(torch.cuda.max_memory_allocated() - before, operations(run, row))


def _to_measure(row: Row, shape: Shape, setting: Setting) -> Callable[[], float | None]:
    """Everything set up, and run once at the smallest shape; what is returned makes the run to measure."""
    operations(GenerationBench(SHAPES["tiny"], replace(setting, batch=1, steps=2)).prepare(row), row)
    runner = GenerationBench(shape, setting)
    # compiling takes memory, too, which is not meant here
    run = runner.warmed(row) if row.compiled else runner.prepare(row)
    return lambda: operations(run, row)


def operations(run: Run, row: Row) -> float | None:
    """Floating-point operations of matrix products, convolutions and attention; None where they cannot be counted."""
    if not row.countable:
        run()
        return None
    from torch.utils.flop_counter import FlopCounterMode

    # xformers' kernels are not counted
    with FlopCounterMode(display=False) as counter, attention_backend("sdpa"):
        run()
    return float(counter.get_total_flops())
