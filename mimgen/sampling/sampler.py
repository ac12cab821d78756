"""Iterative unmasking: the one sampler of all masked generators.

It knows neither transformer nor tokenizer, only a `predict` callable. Logits are asked for no more than
the positions that are still masked, and where the order is fixed beforehand for no more than the
positions that the step reveals; a large head then costs a fraction of the full one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from mimgen.errors import UserError
from mimgen.ops.gumbel import gumbel
from mimgen.ops.positions import gather_tokens, padded_nonzero
from mimgen.sampling.confidence import choice_temperatures, masked_length
from mimgen.sampling.guidance import Guidance, combine
from mimgen.sampling.orders import Confidence, Order
from mimgen.sampling.sampled import Sampled
from mimgen.sampling.schedules import Cosine, CountSchedule, Schedule
from mimgen.sampling.temperatures import Temperature
from mimgen.sampling.token_sampler import PLAIN, SampledTokens, TokenSampler
from mimgen.types import SampleRNG

Predict = Callable[[Tensor, Tensor, int, bool], "Tensor | tuple[Tensor, Tensor]"]


@runtime_checkable
class GuidedPredict(Protocol):
    """A `predict` that can mix the branches of the guidance itself, where that costs least."""

    def guided(self, tokens: Tensor, positions: Tensor, step: int, weight: float) -> Tensor:
        """[B, M, K] logits u + w (c - u) of positions [B, M] of tokens [B, N]."""
        ...


OnStep = Callable[[int, Tensor], "bool | None"]
TemperatureLike = float | tuple[float, float] | Temperature  # always, from the first to the last step, or by a rule

BY_CONFIDENCE, COSINE, UNGUIDED = Confidence(), Cosine(), Guidance()


@dataclass(frozen=True)
class _Positions:
    """Positions [B, M] of each row; rows with fewer are padded where `valid` [B, M] is false."""

    index: Tensor
    valid: Tensor

    @classmethod
    def padded(cls, index: Tensor, valid: Tensor) -> _Positions:
        """Padding repeats a row's last position: what a row asks for depends on no other row."""
        last = index.gather(1, (valid.sum(1, keepdim=True) - 1).clamp(min=0))  # [B, 1]
        return cls(torch.where(valid, index, last), valid)


@dataclass(frozen=True)
class _Canvas:
    """The tensors that `unmask` fills, all [B, N]; `masked` is true where a token is still masked."""

    tokens: Tensor
    masked: Tensor
    log_probs: Tensor
    unmasked_at: Tensor

    @classmethod
    def start(cls, tokens: Tensor, mask_id: int) -> _Canvas:
        log_probs = torch.zeros(tokens.shape, dtype=torch.float32, device=tokens.device)
        return cls(tokens.clone(), tokens == mask_id, log_probs, torch.full_like(tokens, -1))

    def unmask(self, accept: Tensor, index: Tensor, sampled: SampledTokens, step: int) -> None:
        """Write the tokens at the positions of `index` [B, M] where `accept` [B, M] is true."""
        rows, columns = accept.nonzero(as_tuple=True)
        where = index[rows, columns]  # [number accepted]
        self.tokens[rows, where] = sampled.tokens[rows, columns]
        self.log_probs[rows, where] = sampled.log_probs[rows, columns]
        self.unmasked_at[rows, where] = step
        self.masked[rows, where] = False


@dataclass(frozen=True)
class _StepTemperatures:
    """The temperatures of each step."""

    choice: list[float]
    token: list[float]
    logit: list[float]

    @classmethod
    def over(
        cls, steps: int, choice: TemperatureLike, token: TemperatureLike, logit: TemperatureLike
    ) -> _StepTemperatures:
        if steps < 1:
            raise UserError(f"steps={steps}: at least one step is needed")
        if isinstance(choice, (int, float)):
            choice = (choice, 0.01)  # as in the released scheduler of Meissonic
        return cls(
            _temperature_schedule(choice, steps),
            _temperature_schedule(token, steps),
            _temperature_schedule(logit, steps),
        )


def _temperature_schedule(temperature: TemperatureLike, steps: int) -> list[float]:
    """The temperature of each step."""
    if isinstance(temperature, (int, float)):
        return [float(temperature)] * steps
    if isinstance(temperature, (tuple, list)):
        return choice_temperatures(temperature, steps).tolist()
    return [temperature.at(step, steps) for step in range(steps)]


@torch.no_grad()
def unmask(
    predict: Predict,
    tokens: Tensor,
    *,
    mask_id: int,
    steps: int,
    rng: SampleRNG,
    grid: tuple[int, int],
    order: Order = BY_CONFIDENCE,
    schedule: Schedule | CountSchedule = COSINE,
    choice_temperature: TemperatureLike = (2.0, 0.0),
    token_temperature: TemperatureLike = 1.0,
    logit_temperature: TemperatureLike = 1.0,
    top_k: int | None = None,
    token_sampler: TokenSampler = PLAIN,
    guidance: Guidance = UNGUIDED,
    mask_logit: bool = False,
    resample: bool = False,
    on_step: OnStep | None = None,
) -> Sampled:
    """Fill every masked token within `steps` steps.

    After step s (from 0) floor(masked at first * schedule((s + 1) / steps)) tokens of a row stay masked, but
    at least one fewer than before and at least one; after the last step none. Two numbers a position
    are sampled in every step for the whole grid and then gathered, so a row depends on its own stream
    alone: neither on the batch nor on which positions the logits were asked for.

    Args:
        predict: called with (tokens [B, N], positions [B, M], step, guided); returns logits [B, M, K]
            of these positions, or (conditional, unconditional) logits if guided. Positions ascend; rows that
            ask for fewer repeat their last one. A `GuidedPredict` mixes the two itself.
        tokens: [B, N] int64; tokens other than `mask_id` are known and never change.
        mask_id: must not be a token that the logits can sample.
        steps: at least 1; may exceed the number of tokens.
        rng: B random streams.
        grid: rows and columns, N = h * w.
        order: which positions are revealed first.
        schedule: how many stay masked; a `CountSchedule` counts them by another rule.
        choice_temperature: Gumbel noise on the confidence, from the first to the last step; a single number
            falls to 0.01.
        token_temperature: divides the logits of the sample, always or from the first to the last step; 0 takes
            the likeliest token.
        logit_temperature: divides the guided logits before anything else, so that it changes the confidence
            too; always or from the first to the last step.
        top_k: sample among the k likeliest tokens only.
        token_sampler: how a token is sampled and what its confidence is.
        guidance: classifier-free guidance.
        mask_logit: compatibility with Halton-MaskGIT's samplers: the logits score the mask id, too, so it may be
            sampled, and remain at the end. By default such logits are refused.
        resample: compatibility with Halton-MaskGIT's confidence sampler: tokens that were revealed are sampled
            again in every step (given ones are not), and masked again where the mask id comes out.
        on_step: called with (step, tokens [B, N]) after each step; returning True stops the loop.

    Raises:
        UserError: an argument that does not fit the others.
    """
    temperatures = _StepTemperatures.over(steps, choice_temperature, token_temperature, logit_temperature)
    _check(tokens, steps, rng, grid, temperatures, top_k)
    if resample and not isinstance(order, Confidence):
        raise UserError("redraw: tokens are sampled again in the order by confidence only")
    canvas = _Canvas.start(tokens, mask_id)
    at_first = canvas.masked.sum(1)  # [B]
    ranks = order.plan(grid, rng)
    ranks = None if ranks is None else ranks.to(tokens.device)
    for step in range(steps):
        # as many numbers in every step and for every position, whichever of them are used
        uniform = rng.uniform(2, tokens.shape[1]).to(tokens.device)
        noise = (
            rng.uniform(tokens.shape[1], token_sampler.gumbel_codes).to(tokens.device)
            if token_sampler.gumbel_codes
            else None
        )
        now = canvas.masked.sum(1)
        count = now - _still_masked(schedule, step, steps, at_first, now)
        if int(count.max()) > 0 or resample:
            wanted = _wanted(canvas, ranks, count, resample)
            logits = _guided(predict, canvas.tokens, wanted.index, step, guidance.weight(step, steps))
            if (codes := logits.shape[-1]) > mask_id >= 0 and not mask_logit:
                raise UserError(f"the {codes} logits include the mask id {mask_id}; cut them off before")
            numbers = gather_tokens(uniform[:, 0] if noise is None else noise, wanted.index)
            logits = logits if temperatures.logit[step] == 1 else logits / temperatures.logit[step]
            sampled = token_sampler.tokens(logits, numbers, temperatures.token[step], top_k)
            accept = wanted.valid
            if ranks is None:
                scores = sampled.scores + temperatures.choice[step] * gumbel(gather_tokens(uniform[:, 1], wanted.index))
                accept = _most_confident(scores, wanted.valid, count)
            if resample:
                accept = accept | (~canvas.masked & (canvas.unmasked_at >= 0))
            canvas.unmask(accept, wanted.index, sampled, step)
            if resample:
                canvas.masked.copy_(canvas.tokens == mask_id)
        if on_step is not None and on_step(step, canvas.tokens.clone()):
            break
    return Sampled(canvas.tokens, canvas.log_probs, canvas.unmasked_at)


def _check(
    tokens: Tensor,
    steps: int,
    rng: SampleRNG,
    grid: tuple[int, int],
    temperatures: _StepTemperatures,
    top_k: int | None,
) -> None:
    if tokens.ndim != 2 or tokens.shape[1] != grid[0] * grid[1]:
        raise UserError(f"tokens of shape {tuple(tokens.shape)} do not fit the grid {grid}; give [B, h * w]")
    if len(rng) != len(tokens):
        raise UserError(f"{len(rng)} random streams for {len(tokens)} rows; give one seed a row")
    if min(temperatures.token) < 0:
        raise UserError(f"token temperature {min(temperatures.token)}: give 0 (likeliest token) or more")
    if min(temperatures.logit) <= 0:
        raise UserError(f"logit temperature {min(temperatures.logit)}: give more than 0")
    if top_k is not None and top_k < 1:
        raise UserError(f"top_k={top_k}: give at least 1, or None for all tokens")


def _wanted(canvas: _Canvas, ranks: Tensor | None, count: Tensor, every: bool) -> _Positions:
    """The positions whose logits are needed; valid are those that may be revealed."""
    if every:
        positions = torch.arange(canvas.masked.shape[1], device=canvas.masked.device)
        return _Positions(positions.expand(canvas.masked.shape), canvas.masked)
    if ranks is None:  # all that are masked, ascending
        return _Positions.padded(*padded_nonzero(canvas.masked))
    return _next(ranks, canvas.masked, count)


def _still_masked(schedule: Schedule | CountSchedule, step: int, steps: int, at_first: Tensor, now: Tensor) -> Tensor:
    """[B] int64 tokens masked after this step; a complete row stays complete."""
    if step == steps - 1:
        return torch.zeros_like(now)
    if isinstance(schedule, CountSchedule):
        return torch.minimum(schedule.masked(step, steps, at_first), now)
    return torch.minimum(masked_length(schedule, step, steps, at_first, now), now)


def _next(ranks: Tensor, masked: Tensor, count: Tensor) -> _Positions:
    """The `count` masked positions of lowest rank, ascending by position."""
    length = ranks.shape[1]
    maximum = int(count.max())
    first = torch.argsort(torch.where(masked, ranks, length), dim=1, stable=True)[:, :maximum]  # [B, M]
    valid = torch.arange(maximum, device=masked.device) < count[:, None]  # [B, M]
    # padding sorts behind every position and finds its own again by the remainder
    index, back = torch.where(valid, first, length + first).sort(1)
    return _Positions.padded(index % length, valid.gather(1, back))


def _guided(predict: Predict, tokens: Tensor, index: Tensor, step: int, weight: float) -> Tensor:
    """[B, M, K] float32 logits; weight 1 makes the conditional pass only."""
    if weight != 1.0 and isinstance(predict, GuidedPredict):
        return predict.guided(tokens, index, step, weight).float()
    answer = predict(tokens, index, step, weight != 1.0)
    if isinstance(answer, Tensor):
        return answer.float()
    return combine(*answer, weight)


def _most_confident(scores: Tensor, valid: Tensor, count: Tensor) -> Tensor:
    """[B, M] boolean, true at exactly `count` valid positions of each row; ties go to the earlier position."""
    scores = scores.masked_fill(~valid, float("-inf"))
    position = torch.argsort(scores, dim=1, descending=True, stable=True).argsort(1)
    return (position < count[:, None]) & valid
