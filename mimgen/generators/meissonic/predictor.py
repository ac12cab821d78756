"""A text-conditional generator as the sampler's `predict`: encoded captions in, logits out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mimgen.errors import UserError
from mimgen.generators.base import TextCondition
from mimgen.generators.meissonic.cells import Cells, marked
from mimgen.generators.meissonic.condition_cache import ConditionCache
from mimgen.generators.meissonic.feature_cache import FeatureMemory
from mimgen.generators.meissonic.network import MeissonicNetwork
from mimgen.ops.positions import gather_tokens
from mimgen.sampling import Sampled, unmask
from mimgen.sampling.guidance import combine
from mimgen.types import SampleRNG

# How the authors of Meissonic sample (their script; the default of their pipeline is 48 steps); names as of the
# pipeline's preset. The clock is told whole numbers although the model was trained on rates.
RELEASED: Mapping[str, Any] = {
    "steps": 64, "guidance_scale": 9.0, "guidance_interval": (0.0, 1.0), "order": "confidence", "schedule": "cosine",
    "choice_temperature": (2.0, 0.0), "token_temperature": 1.0, "timestep_mode": "steps", "crop": (0, 0), "score": 6.0,
}  # fmt: skip


def released_preset(transformer: MeissonicNetwork) -> dict[str, Any]:
    """`RELEASED` with the resolution: the released transformer that halves its grid is the one of 1024 px."""
    side = 1024 if transformer.compression == 2 else 512
    return {"resolution": (side, side), **RELEASED}


def check_scheduler(scheduler: Mapping[str, Any], transformer: MeissonicNetwork) -> None:
    """Refuse a released scheduler's configuration that is not of this transformer.

    Raises:
        UserError: it masks with another id.
    """
    mask_token = scheduler.get("mask_token_id", transformer.mask_id)
    if mask_token != transformer.mask_id:
        raise UserError(
            f"the scheduler masks with id {mask_token}, the transformer was trained with {transformer.mask_id} (the "
            "last of its vocabulary): the folders are of two models"
        )


@dataclass
class _Difference:
    """Unconditional features subtracted from conditional ones, [B, N, D] of all tokens, and from which step."""

    values: Tensor
    step: int


class TextPredictor:
    """The transformer as the sampler's `predict`; it serves one run of the sampler at a time.

    Without a feature cache a step is guided -> features -> `MeissonicNetwork.states_at` -> the first block.

    Args:
        transformer: the generator.
        grid: rows and columns of tokens.
        condition: captions, negative captions and how the run is set.

    Attributes:
        cache: keys and values kept from step to step; None where every step computes everything.
    """

    def __init__(self, transformer: MeissonicNetwork, grid: tuple[int, int], condition: TextCondition) -> None:
        self.transformer, self.grid, self.condition, self.speed = transformer, grid, condition, condition.speed
        cached = self.speed.cache is not None and self.speed.cache.every > 1
        self.cache = FeatureMemory(transformer, self.speed) if cached else None
        self._prepared: ConditionCache | None = None
        self._difference: _Difference | None = None
        self._step = -1

    @property
    def cache_bytes(self) -> int:
        """Largest size of the feature cache so far; 0 without one."""
        return 0 if self.cache is None else self.cache.bytes

    def __call__(
        self, tokens: Tensor, positions: Tensor, step: int, guided: bool
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Logits [B, M, K], with those of the unconditional branch besides if `guided`."""
        self._forget_another_run(step)
        logits = self.transformer.mlm_layer.logits(self.features(tokens, positions, step, guided))
        if not guided:
            return logits
        conditional, unconditional = logits.chunk(2)  # [B, M, K] each
        return conditional, unconditional

    def guided(self, tokens: Tensor, positions: Tensor, step: int, weight: float) -> Tensor:
        """Guided logits u + w (c - u), [B, M, K]: mixed in front of the head's last layer, or behind it."""
        if not self.speed.guide_features and self.speed.guidance_every == 1:
            conditional, unconditional = self(tokens, positions, step, True)
            return combine(conditional, unconditional, weight)
        self._forget_another_run(step)
        if self.speed.guidance_every == 1:
            conditional, unconditional = self.features(tokens, positions, step, True).chunk(2)
            mixed = combine(conditional, unconditional, weight).to(conditional.dtype)
        elif self._difference is None or step - self._difference.step >= self.speed.guidance_every:
            mixed = self._refreshed(tokens, positions, step, weight)
        else:
            conditional = self.features(tokens, positions, step, False)
            mixed = _pushed(conditional, gather_tokens(self._difference.values, positions), weight)
        # the last layer is linear without a bias: a mixture of features gives the mixture of logits
        return self.transformer.mlm_layer.logits(mixed)

    def features(
        self, tokens: Tensor, positions: Tensor, step: int, guided: bool, keep: int | None = None
    ) -> Tensor:
        """What the head's last layer reads, [B, M, D]; of both branches [2 B, M, D] if `guided`.

        Args:
            tokens: [B, N] ids.
            positions: [B, M].
            step: from 0.
            guided: the unconditional rows, too, behind the others.
            keep: makes a full step, of which the cache keeps the first rows only.
        """
        prepared, rate = self._rows(guided), self.progress(tokens, step)
        if guided:
            tokens, positions, rate = tokens.repeat(2, 1), positions.repeat(2, 1), rate.repeat(2)
        canvas = tokens.view(len(tokens), *self.grid)
        if self.cache is None:
            states = self.transformer.states_at(canvas, prepared, rate, positions, speed=self.speed)
        else:
            states = self.cache.states_at(canvas, prepared, rate, positions, step, rows=keep)
        features: Tensor = self.transformer.mlm_layer.features(states)
        return features

    def progress(self, tokens: Tensor, step: int) -> Tensor:
        """[B] how far sampling of tokens [B, N] has come, as the model is told."""
        if self.condition.timestep_mode == "steps":
            return torch.full((len(tokens),), float(self.condition.steps - 1 - step), device=tokens.device)
        # the share still masked, the same quantity that the model was told in training
        return (tokens == self.transformer.mask_id).float().mean(1)

    def micro_conditions(self, count: int) -> Tensor:
        """[count, 5] micro-conditions."""
        sizes = torch.tensor(self.condition.sizes, dtype=torch.float32, device=self.transformer.device)
        return sizes.expand(count, -1)

    def _refreshed(self, tokens: Tensor, positions: Tensor, step: int, weight: float) -> Tensor:
        """Both branches at all tokens that may be asked for until the next time."""
        wanted = (tokens == self.transformer.mask_id) | marked(positions, tokens.shape[1])
        where = Cells.where(wanted).index  # [B, m]
        both = self.features(tokens, where, step, True, keep=len(tokens))
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
        return self._prepared if guided else self._prepared.head(len(self.condition.text.states))

    def _prepare(self, guided: bool) -> ConditionCache:
        text, negative = self.condition.text, self.condition.negative
        states, pooled = text.states, text.pooled
        if guided:
            states, pooled = torch.cat([states, negative.states]), torch.cat([pooled, negative.pooled])
        return self.transformer.prepare(states, pooled, self.micro_conditions(len(states)), self.grid)

    def _forget_another_run(self, step: int) -> None:
        """Steps ascend in a run; where they do not, nothing that was kept is of this one."""
        if step <= self._step:
            self._difference = None
            if self.cache is not None:
                self.cache.forget()
        self._step = step


def sample_text(
    predict: TextPredictor, rng: SampleRNG, *, initial_tokens: Tensor | None = None, **options: Any
) -> Sampled:
    """Generate the tokens of one image for each caption.

    Args:
        predict: generator and captions.
        rng: B random streams.
        initial_tokens: [B, N] int64 ids that are known, the mask id where a token is to be generated; None
            generates all.
        options: further arguments of `mimgen.sampling.unmask`, without steps and grid.

    Raises:
        UserError: see `unmask`.
    """
    mask_id, (rows, columns) = predict.transformer.mask_id, predict.grid
    if initial_tokens is None:
        initial_tokens = torch.full((len(rng), rows * columns), mask_id)
    tokens = initial_tokens.to(predict.transformer.device)
    return unmask(
        predict, tokens, mask_id=mask_id, steps=predict.condition.steps, rng=rng, grid=predict.grid, **options
    )


def _pushed(conditional: Tensor, difference: Tensor, weight: float) -> Tensor:
    """c + (w - 1) (c - u), which is u + w (c - u)."""
    return (conditional.float() + (weight - 1) * difference).to(conditional.dtype)


def _scattered(values: Tensor, where: Tensor, count: int) -> Tensor:
    """Values [B, M, D] at their positions in [B, count, D], zeros elsewhere."""
    scattered = values.new_zeros(len(values), count, values.shape[2])
    return scattered.scatter(1, where[..., None].expand_as(values), values)  # [B, count, D]
