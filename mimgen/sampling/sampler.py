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
from mimgen.ops.places import rows_at, true_places
from mimgen.sampling.confidence import choice_temperatures, masked_length
from mimgen.sampling.draw import PLAIN, Draw, Drawn
from mimgen.sampling.guidance import Guidance, combine
from mimgen.sampling.orders import Confidence, Order
from mimgen.sampling.sampled import Sampled
from mimgen.sampling.schedules import Cosine, Known, Schedule
from mimgen.sampling.temperatures import Temperature
from mimgen.types import Draws

Predict = Callable[[Tensor, Tensor, int, bool], "Tensor | tuple[Tensor, Tensor]"]


@runtime_checkable
class GuidedPredict(Protocol):
    """A `predict` that can mix the branches of the guidance itself, where that costs least."""

    def guided(self, tokens: Tensor, positions: Tensor, step: int, weight: float) -> Tensor:
        """[B, M, K] logits u + w (c - u) of positions [B, M] of tokens [B, N]."""
        ...


OnStep = Callable[[int, Tensor], "bool | None"]
Heat = float | tuple[float, float] | Temperature  # always, from the first to the last step, or by a rule

BY_CONFIDENCE, COSINE, UNGUIDED = Confidence(), Cosine(), Guidance()


@dataclass(frozen=True)
class _Positions:
    """Positions [B, M] of each row; rows with fewer are padded where `valid` [B, M] is false."""

    index: Tensor
    valid: Tensor

    @classmethod
    def padded(cls, index: Tensor, valid: Tensor) -> _Positions:
        """Padding repeats a row's last position: what a row asks for depends on no other row."""
        last = index.gather(1, (valid.sum(1, keepdim=True) - 1).clamp(min=0))
        return cls(torch.where(valid, index, last), valid)


@dataclass(frozen=True)
class _Canvas:
    """The tensors that `unmask` fills, all [B, N]; `hidden` is true where a token is still masked."""

    tokens: Tensor
    hidden: Tensor
    log_probs: Tensor
    revealed_at: Tensor

    @classmethod
    def start(cls, tokens: Tensor, mask_id: int) -> _Canvas:
        log_probs = torch.zeros(tokens.shape, dtype=torch.float32, device=tokens.device)
        return cls(tokens.clone(), tokens == mask_id, log_probs, torch.full_like(tokens, -1))

    def reveal(self, accept: Tensor, index: Tensor, drawn: Drawn, step: int) -> None:
        """Write the tokens at the places of `index` [B, M] where `accept` [B, M] is true."""
        rows, columns = accept.nonzero(as_tuple=True)
        where = index[rows, columns]
        self.tokens[rows, where] = drawn.tokens[rows, columns]
        self.log_probs[rows, where] = drawn.log_probs[rows, columns]
        self.revealed_at[rows, where] = step
        self.hidden[rows, where] = False


@dataclass(frozen=True)
class _Heats:
    """The temperatures of each step."""

    choice: list[float]
    token: list[float]
    logit: list[float]

    @classmethod
    def over(cls, steps: int, choice: Heat, token: Heat, logit: Heat) -> _Heats:
        if steps < 1:
            raise UserError(f"steps={steps}: at least one step is needed")
        if isinstance(choice, (int, float)):
            choice = (choice, 0.01)  # as in the released scheduler of Meissonic
        return cls(_course(choice, steps), _course(token, steps), _course(logit, steps))


def _course(heat: Heat, steps: int) -> list[float]:
    """The temperature of each step."""
    if isinstance(heat, (int, float)):
        return [float(heat)] * steps
    if isinstance(heat, (tuple, list)):
        return choice_temperatures(heat, steps).tolist()
    return [heat.at(step, steps) for step in range(steps)]


@torch.no_grad()
def unmask(
    predict: Predict,
    tokens: Tensor,
    *,
    mask_id: int,
    steps: int,
    draws: Draws,
    grid: tuple[int, int],
    order: Order = BY_CONFIDENCE,
    schedule: Schedule | Known = COSINE,
    choice_temperature: Heat = (2.0, 0.0),
    token_temperature: Heat = 1.0,
    logit_temperature: Heat = 1.0,
    top_k: int | None = None,
    draw: Draw = PLAIN,
    guidance: Guidance = UNGUIDED,
    mask_logit: bool = False,
    redraw: bool = False,
    on_step: OnStep | None = None,
) -> Sampled:
    """Fill every masked token within `steps` steps.

    After step s (from 0) floor(masked at first * schedule((s + 1) / steps)) tokens of a row stay masked, but
    at least one fewer than before and at least one; after the last step none. Two numbers a position
    are drawn in every step for the whole grid and then gathered, so a row depends on its own stream
    alone: neither on the batch nor on which positions the logits were asked for.

    Args:
        predict: called with (tokens [B, N], positions [B, M], step, guided); returns logits [B, M, K]
            of these positions, or (conditional, unconditional) logits if guided. Positions ascend; rows that
            ask for fewer repeat their last one. A `GuidedPredict` mixes the two itself.
        tokens: [B, N] int64; tokens other than `mask_id` are known and never change.
        mask_id: must not be a token that the logits can draw.
        steps: at least 1; may exceed the number of tokens.
        draws: B random streams.
        grid: rows and columns, N = h * w.
        order: which positions are revealed first.
        schedule: how many stay masked; a `Known` counts them by another rule.
        choice_temperature: Gumbel noise on the confidence, from the first to the last step; a single number
            falls to 0.01.
        token_temperature: divides the logits of the draw, always or from the first to the last step; 0 takes
            the likeliest token.
        logit_temperature: divides the guided logits before anything else, so that it changes the confidence
            too; always or from the first to the last step.
        top_k: draw among the k likeliest tokens only.
        draw: how a token is drawn and what its confidence is.
        guidance: classifier-free guidance.
        mask_logit: compatibility with Halton-MaskGIT's samplers: the logits score the mask id, too, so it may be
            drawn, and remain at the end. By default such logits are refused.
        redraw: compatibility with Halton-MaskGIT's confidence sampler: tokens that were revealed are drawn
            again in every step (given ones are not), and masked again where the mask id comes out.
        on_step: called with (step, tokens [B, N]) after each step; returning True stops the loop.

    Raises:
        UserError: an argument that does not fit the others.
    """
    heats = _Heats.over(steps, choice_temperature, token_temperature, logit_temperature)
    _check(tokens, steps, draws, grid, heats, top_k)
    if redraw and not isinstance(order, Confidence):
        raise UserError("redraw: tokens are drawn again in the order by confidence only")
    canvas = _Canvas.start(tokens, mask_id)
    at_first = canvas.hidden.sum(1)
    ranks = order.plan(grid, draws)
    ranks = None if ranks is None else ranks.to(tokens.device)
    for step in range(steps):
        # as many numbers in every step and for every position, whichever of them are used
        uniform = draws.uniform(2, tokens.shape[1]).to(tokens.device)
        noise = draws.uniform(tokens.shape[1], draw.gumbel_codes).to(tokens.device) if draw.gumbel_codes else None
        now = canvas.hidden.sum(1)
        reveal = now - _still_masked(schedule, step, steps, at_first, now)
        if int(reveal.max()) > 0 or redraw:
            asked = _asked(canvas, ranks, reveal, redraw)
            logits = _guided(predict, canvas.tokens, asked.index, step, guidance.weight(step, steps))
            if (codes := logits.shape[-1]) > mask_id >= 0 and not mask_logit:
                raise UserError(f"the {codes} logits include the mask id {mask_id}; cut them off before")
            numbers = rows_at(uniform[:, 0] if noise is None else noise, asked.index)
            logits = logits if heats.logit[step] == 1 else logits / heats.logit[step]
            drawn = draw.tokens(logits, numbers, heats.token[step], top_k)
            accept = asked.valid
            if ranks is None:
                scores = drawn.scores + heats.choice[step] * gumbel(rows_at(uniform[:, 1], asked.index))
                accept = _most_confident(scores, asked.valid, reveal)
            if redraw:
                accept = accept | (~canvas.hidden & (canvas.revealed_at >= 0))
            canvas.reveal(accept, asked.index, drawn, step)
            if redraw:
                canvas.hidden.copy_(canvas.tokens == mask_id)
        if on_step is not None and on_step(step, canvas.tokens.clone()):
            break
    return Sampled(canvas.tokens, canvas.log_probs, canvas.revealed_at)


def _check(
    tokens: Tensor, steps: int, draws: Draws, grid: tuple[int, int], heats: _Heats, top_k: int | None
) -> None:
    if tokens.ndim != 2 or tokens.shape[1] != grid[0] * grid[1]:
        raise UserError(f"tokens of shape {tuple(tokens.shape)} do not fit the grid {grid}; give [B, h * w]")
    if len(draws) != len(tokens):
        raise UserError(f"{len(draws)} random streams for {len(tokens)} rows; give one seed a row")
    if min(heats.token) < 0:
        raise UserError(f"token temperature {min(heats.token)}: give 0 (likeliest token) or more")
    if min(heats.logit) <= 0:
        raise UserError(f"logit temperature {min(heats.logit)}: give more than 0")
    if top_k is not None and top_k < 1:
        raise UserError(f"top_k={top_k}: give at least 1, or None for all tokens")


def _asked(canvas: _Canvas, ranks: Tensor | None, reveal: Tensor, every: bool) -> _Positions:
    """The positions whose logits are needed; valid are those that may be revealed."""
    if every:
        positions = torch.arange(canvas.hidden.shape[1], device=canvas.hidden.device)
        return _Positions(positions.expand(canvas.hidden.shape), canvas.hidden)
    if ranks is None:  # all that are masked, ascending
        return _Positions.padded(*true_places(canvas.hidden))
    return _next(ranks, canvas.hidden, reveal)


def _still_masked(schedule: Schedule | Known, step: int, steps: int, at_first: Tensor, now: Tensor) -> Tensor:
    """[B] int64 tokens masked after this step; a complete row stays complete."""
    if step == steps - 1:
        return torch.zeros_like(now)
    if isinstance(schedule, Known):
        return torch.minimum(schedule.masked(step, steps, at_first), now)
    return torch.minimum(masked_length(schedule, step, steps, at_first, now), now)


def _next(ranks: Tensor, hidden: Tensor, reveal: Tensor) -> _Positions:
    """The `reveal` masked positions of lowest rank, ascending by position."""
    length = ranks.shape[1]
    most = int(reveal.max())
    first = torch.argsort(torch.where(hidden, ranks, length), dim=1, stable=True)[:, :most]
    valid = torch.arange(most, device=hidden.device) < reveal[:, None]
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


def _most_confident(scores: Tensor, valid: Tensor, reveal: Tensor) -> Tensor:
    """[B, M] boolean, true at exactly `reveal` valid places of each row; ties go to the earlier position."""
    scores = scores.masked_fill(~valid, float("-inf"))
    place = torch.argsort(scores, dim=1, descending=True, stable=True).argsort(1)
    return (place < reveal[:, None]) & valid
