"""One run of a text-conditional generator: what it keeps from step to step."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mimgen.encoders import TextStates
from mimgen.generators.meissonic.cells import Cells, marked
from mimgen.generators.meissonic.condition_cache import ConditionCache
from mimgen.generators.meissonic.feature_cache import FeatureMemory
from mimgen.generators.meissonic.model import MeissonicTransformer
from mimgen.generators.meissonic.speed import Speed
from mimgen.ops.positions import gather_tokens
from mimgen.sampling.guidance import combine


@dataclass
class _Difference:
    """Unconditional features subtracted from conditional ones, [B, N, D] of all tokens, and from which step."""

    values: Tensor
    step: int


class TextRun:
    """Features of the head, with what is prepared, cached or used again.

    Args:
        transformer: the generator.
        grid: rows and columns of tokens.
        text: of the captions.
        negative: of the unconditional branch.
        sizes: [B, 5] micro-conditions.
        speed: what is saved.
    """

    def __init__(
        self,
        transformer: MeissonicTransformer,
        grid: tuple[int, int],
        text: TextStates,
        negative: TextStates,
        sizes: Tensor,
        speed: Speed,
    ) -> None:
        self.transformer, self.grid, self.speed = transformer, grid, speed
        self.text, self.negative, self.sizes = text, negative, sizes
        self.memory = FeatureMemory(transformer, speed)
        self._prepared: ConditionCache | None = None
        self._difference: _Difference | None = None
        self._step = -1

    def features(self, tokens: Tensor, positions: Tensor, step: int, rate: Tensor, guided: bool) -> Tensor:
        """What the head's last layer reads, [B, M, D]; of both branches [2 B, M, D] if `guided`.

        Args:
            tokens: [B, N] ids.
            positions: [B, M].
            step: from 0.
            rate: [B] progress that the model is told.
            guided: the unconditional rows, too, behind the others.
        """
        self._forget_another_run(step)
        return self._features(tokens, positions, step, rate, guided)

    def _features(
        self, tokens: Tensor, positions: Tensor, step: int, rate: Tensor, guided: bool, keep: int | None = None
    ) -> Tensor:
        """With `keep` in a full step, of which the cache keeps the first rows only."""
        prepared = self._rows(guided)
        if guided:
            tokens, positions, rate = tokens.repeat(2, 1), positions.repeat(2, 1), rate.repeat(2)
        canvas = tokens.view(len(tokens), *self.grid)
        states = self.memory.states_at(canvas, prepared, rate, positions, step, rows=keep)
        return self.transformer.mlm_layer.features(states)

    def mixed(self, tokens: Tensor, positions: Tensor, step: int, rate: Tensor, weight: float) -> Tensor:
        """Guided features u + w (c - u), [B, M, D]; arguments as for `features`."""
        self._forget_another_run(step)
        if self.speed.guidance_every == 1:
            conditional, unconditional = self._features(tokens, positions, step, rate, True).chunk(2)
            return combine(conditional, unconditional, weight).to(conditional.dtype)
        if self._difference is None or step - self._difference.step >= self.speed.guidance_every:
            return self._refreshed(tokens, positions, step, rate, weight)
        conditional = self._features(tokens, positions, step, rate, False)
        return _pushed(conditional, gather_tokens(self._difference.values, positions), weight)

    def _refreshed(self, tokens: Tensor, positions: Tensor, step: int, rate: Tensor, weight: float) -> Tensor:
        """Both branches at all tokens that may be asked for until the next time."""
        wanted = (tokens == self.transformer.mask_id) | marked(positions, tokens.shape[1])
        where = Cells.where(wanted).index
        both = self._features(tokens, where, step, rate, True, keep=len(tokens))
        conditional, unconditional = (_scattered(part, where, tokens.shape[1]) for part in both.float().chunk(2))
        self._difference = _Difference(conditional - unconditional, step)
        picked = gather_tokens(conditional, positions).to(both.dtype)
        return _pushed(picked, gather_tokens(self._difference.values, positions), weight)

    def _rows(self, guided: bool) -> ConditionCache:
        """The conditional rows, with the unconditional ones behind them if `guided`."""
        if not self.speed.text_once:
            return self._prepare(guided)
        if self._prepared is None:
            self._prepared = self._prepare(True)
        return self._prepared if guided else self._prepared.head(len(self.text.states))

    def _prepare(self, guided: bool) -> ConditionCache:
        states, pooled, sizes = self.text.states, self.text.pooled, self.sizes
        if guided:
            states = torch.cat([states, self.negative.states])
            pooled, sizes = torch.cat([pooled, self.negative.pooled]), sizes.repeat(2, 1)
        return self.transformer.prepare(states, pooled, sizes, self.grid)

    def _forget_another_run(self, step: int) -> None:
        """Steps ascend in a run; where they do not, nothing that was kept is of this one."""
        if step <= self._step:
            self.memory.forget()
            self._difference = None
        self._step = step


def _pushed(conditional: Tensor, difference: Tensor, weight: float) -> Tensor:
    """c + (w - 1) (c - u), which is u + w (c - u)."""
    return (conditional.float() + (weight - 1) * difference).to(conditional.dtype)


def _scattered(values: Tensor, where: Tensor, count: int) -> Tensor:
    """Values [B, M, D] at their positions in [B, count, D], zeros elsewhere."""
    scattered = values.new_zeros(len(values), count, values.shape[2])
    return scattered.scatter(1, where[..., None].expand_as(values), values)
