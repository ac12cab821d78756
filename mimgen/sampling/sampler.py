"""Iterative unmasking: the one sampler of all masked generators.

It knows neither transformer nor tokenizer, only a `predict` callable. Logits are asked for no more than
the positions that are still masked, and where the order is fixed beforehand for no more than the
positions that the step reveals; a large head then costs a fraction of the full one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from mimgen.errors import UserError
from mimgen.ops.gumbel import draw_by_inverse_cdf, gumbel, log_clamped
from mimgen.sampling.confidence import choice_temperatures, masked_length
from mimgen.sampling.guidance import Guidance, combine
from mimgen.sampling.orders import Confidence, Order
from mimgen.sampling.schedules import Cosine, Schedule
from mimgen.types import Draws

Predict = Callable[[Tensor, Tensor, int, bool], "Tensor | tuple[Tensor, Tensor]"]
OnStep = Callable[[int, Tensor], "bool | None"]

BY_CONFIDENCE, COSINE, UNGUIDED = Confidence(), Cosine(), Guidance()


@dataclass(frozen=True)
class Sampled:
    """What `unmask` returns.

    Attributes:
        tokens: [B, N] int64; the mask id remains only where `on_step` cancelled before.
        log_probs: [B, N] float32 log probability of each drawn token under the guided prediction
            (before token temperature and top-k); 0 where the token was known.
        revealed_at: [B, N] int64 step of revealing from 0; -1 where the token was known or is masked.
    """

    tokens: Tensor
    log_probs: Tensor
    revealed_at: Tensor


@dataclass(frozen=True)
class _Positions:
    """Positions [B, M] of each row; rows with fewer are padded where `valid` [B, M] is false."""

    index: Tensor
    valid: Tensor


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

    def reveal(self, accept: Tensor, index: Tensor, drawn: Tensor, scores: Tensor, step: int) -> None:
        """Write the tokens at the places of `index` [B, M] where `accept` [B, M] is true."""
        rows, columns = accept.nonzero(as_tuple=True)
        where = index[rows, columns]
        self.tokens[rows, where] = drawn[rows, columns]
        self.log_probs[rows, where] = scores[rows, columns]
        self.revealed_at[rows, where] = step
        self.hidden[rows, where] = False


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
    schedule: Schedule = COSINE,
    choice_temperature: tuple[float, float] = (2.0, 0.0),
    token_temperature: float = 1.0,
    top_k: int | None = None,
    guidance: Guidance = UNGUIDED,
    on_step: OnStep | None = None,
) -> Sampled:
    """Fill every masked token within `steps` steps.

    After step s (from 0) floor(masked at first * schedule((s + 1) / steps)) tokens of a row stay masked, but
    at least one fewer than before and at least one; after the last step none. Two numbers a position
    are drawn in every step for the whole grid and then gathered, so a row depends on its own stream
    alone: neither on the batch nor on which positions the logits were asked for.

    Args:
        predict: called with (tokens [B, N], positions [B, M], step, guided); returns logits [B, M, K]
            of these positions, or (conditional, unconditional) logits if guided. Positions ascend except
            in padding.
        tokens: [B, N] int64; tokens other than `mask_id` are known and never change.
        mask_id: must not be a token that the logits can draw.
        steps: at least 1; may exceed the number of tokens.
        draws: B random streams.
        grid: rows and columns, N = h * w.
        order: which positions are revealed first.
        schedule: how many stay masked.
        choice_temperature: Gumbel noise on the confidence, from the first to the last step.
        token_temperature: divides the logits of the draw; 0 takes the likeliest token.
        top_k: draw among the k likeliest tokens only.
        guidance: classifier-free guidance.
        on_step: called with (step, tokens [B, N]) after each step; returning True stops the loop.

    Raises:
        UserError: an argument that does not fit the others.
    """
    _check(tokens, steps, draws, grid, token_temperature, top_k)
    canvas = _Canvas.start(tokens, mask_id)
    at_first = canvas.hidden.sum(1)
    ranks = order.plan(grid, draws)
    ranks = None if ranks is None else ranks.to(tokens.device)
    temperatures = choice_temperatures(choice_temperature, steps).tolist()
    for step in range(steps):
        uniform = draws.uniform(2, tokens.shape[1]).to(tokens.device)
        now = canvas.hidden.sum(1)
        reveal = now - _still_masked(schedule, step, steps, at_first, now)
        if int(reveal.max()) > 0:
            asked = _masked(canvas.hidden) if ranks is None else _next(ranks, canvas.hidden, reveal)
            logits = _guided(predict, canvas.tokens, asked.index, step, guidance.weight(step, steps))
            if (codes := logits.shape[-1]) > mask_id >= 0:
                raise UserError(f"the {codes} logits include the mask id {mask_id}; cut them off before")
            drawn, scores = _draw(logits, uniform[:, 0].gather(1, asked.index), token_temperature, top_k)
            accept = asked.valid
            if ranks is None:
                noise = temperatures[step] * gumbel(uniform[:, 1].gather(1, asked.index))
                accept = _most_confident(scores + noise, asked.valid, reveal)
            canvas.reveal(accept, asked.index, drawn, scores, step)
        if on_step is not None and on_step(step, canvas.tokens.clone()):
            break
    return Sampled(canvas.tokens, canvas.log_probs, canvas.revealed_at)


def _check(
    tokens: Tensor, steps: int, draws: Draws, grid: tuple[int, int], temperature: float, top_k: int | None
) -> None:
    if tokens.ndim != 2 or tokens.shape[1] != grid[0] * grid[1]:
        raise UserError(f"tokens of shape {tuple(tokens.shape)} do not fit the grid {grid}; give [B, h * w]")
    if len(draws) != len(tokens):
        raise UserError(f"{len(draws)} random streams for {len(tokens)} rows; give one seed a row")
    if steps < 1:
        raise UserError(f"steps={steps}: at least one step is needed")
    if temperature < 0:
        raise UserError(f"token temperature {temperature}: give 0 (likeliest token) or more")
    if top_k is not None and top_k < 1:
        raise UserError(f"top_k={top_k}: give at least 1, or None for all tokens")


def _still_masked(schedule: Schedule, step: int, steps: int, at_first: Tensor, now: Tensor) -> Tensor:
    """[B] int64 tokens masked after this step; a complete row stays complete."""
    if step == steps - 1:
        return torch.zeros_like(now)
    return torch.minimum(masked_length(schedule, step, steps, at_first, now), now)


def _masked(hidden: Tensor) -> _Positions:
    """All masked positions, ascending."""
    counts = hidden.sum(1)
    most = int(counts.max())
    index = torch.argsort((~hidden).to(torch.int8), dim=1, stable=True)[:, :most]
    return _Positions(index, torch.arange(most, device=hidden.device) < counts[:, None])


def _next(ranks: Tensor, hidden: Tensor, reveal: Tensor) -> _Positions:
    """The `reveal` masked positions of lowest rank, ascending by position."""
    length = ranks.shape[1]
    most = int(reveal.max())
    first = torch.argsort(torch.where(hidden, ranks, length), dim=1, stable=True)[:, :most]
    valid = torch.arange(most, device=hidden.device) < reveal[:, None]
    index, back = torch.where(valid, first, length + first).sort(1)
    return _Positions(index % length, valid.gather(1, back))


def _guided(predict: Predict, tokens: Tensor, index: Tensor, step: int, weight: float) -> Tensor:
    """[B, M, K] float32 logits; weight 1 makes the conditional pass only."""
    answer = predict(tokens, index, step, weight != 1.0)
    if isinstance(answer, Tensor):
        return answer.float()
    return combine(*answer, weight)


def _draw(logits: Tensor, uniform: Tensor, temperature: float, top_k: int | None) -> tuple[Tensor, Tensor]:
    """Token [B, M] and its log probability [B, M] before temperature and top-k."""
    # One softmax over the codes serves the draw and the confidence: it costs as much as the head itself.
    probabilities = logits.softmax(-1)
    if temperature == 0:
        drawn = probabilities.argmax(-1)
    elif temperature == 1 and top_k is None:
        drawn = draw_by_inverse_cdf(probabilities, uniform)
    else:
        drawn = draw_by_inverse_cdf(_sharpened(logits / temperature, top_k), uniform)
    return drawn, log_clamped(probabilities.gather(-1, drawn.unsqueeze(-1)).squeeze(-1))


def _sharpened(logits: Tensor, top_k: int | None) -> Tensor:
    """[B, M, K] probabilities of the `top_k` largest logits; the others get 0."""
    if top_k is None or top_k >= logits.shape[-1]:
        return logits.softmax(-1)
    values, codes = logits.topk(top_k, dim=-1)
    return torch.zeros_like(logits).scatter(-1, codes, values.softmax(-1))


def _most_confident(scores: Tensor, valid: Tensor, reveal: Tensor) -> Tensor:
    """[B, M] boolean, true at exactly `reveal` valid places of each row; ties go to the earlier position."""
    scores = scores.masked_fill(~valid, float("-inf"))
    place = torch.argsort(scores, dim=1, descending=True, stable=True).argsort(1)
    return (place < reveal[:, None]) & valid
