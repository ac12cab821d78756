"""Sampling of class-conditional generators: labels in, token ids out."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor

from mimgen.sampling import Sampled, unmask
from mimgen.types import SampleRNG

__all__ = ["ClassConditional", "ClassPredictor", "sample_classes"]


class ClassConditional(Protocol):
    """Any generator of flat token ids given a class; `dropped` is the label that stands for none."""

    mask_id: int
    dropped: int

    def __call__(self, tokens: Tensor, labels: Tensor, *, positions: Tensor | None = None) -> Tensor:
        """[B, M, K] logits of `positions` [B, M] of tokens [B, N] for labels [B]."""
        ...


class ClassPredictor:
    """A class-conditional generator as the sampler's `predict`.

    Args:
        transformer: the generator.
        labels: [B] int64 classes.
    """

    def __init__(self, transformer: ClassConditional, labels: Tensor) -> None:
        self.transformer, self.labels = transformer, labels

    def __call__(
        self, tokens: Tensor, positions: Tensor, step: int, guided: bool
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Logits [B, M, K], with those of the dropped class besides if `guided`."""
        if not guided:
            return self.transformer(tokens, self.labels, positions=positions)
        # both branches in one batch: [2 B, N], the dropped class behind
        labels = torch.cat([self.labels, torch.full_like(self.labels, self.transformer.dropped)])
        both = self.transformer(tokens.repeat(2, 1), labels, positions=positions.repeat(2, 1))
        conditional, unconditional = both.chunk(2)  # [B, M, K] each
        return conditional, unconditional


def sample_classes(
    transformer: ClassConditional, labels: Tensor, rng: SampleRNG, grid: tuple[int, int], **options: Any
) -> Sampled:
    """Generate the tokens of one image for each label, all masked at first.

    Args:
        transformer: the generator.
        labels: [B] int64 classes.
        rng: B random streams.
        grid: rows and columns of tokens.
        options: further arguments of `mimgen.sampling.unmask`, `steps` among them.

    Raises:
        UserError: see `unmask`.
    """
    masked = torch.full((len(labels), grid[0] * grid[1]), transformer.mask_id, device=labels.device)
    predict = ClassPredictor(transformer, labels)
    return unmask(predict, masked, mask_id=transformer.mask_id, rng=rng, grid=grid, **options)
