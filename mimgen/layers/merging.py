"""Token merging as pure functions (ToMe, arXiv 2210.09461): match, then merge, unmerge and trace back.

A matching names the token that every token merges into; it holds indices only and carries no gradient. What is merged
stays a size-weighted average, so that merging in steps gives the mean of all patches behind a token.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from mimgen.errors import UserError
from mimgen.layers.merge_schedule import (
    check_merge_count,
    max_mergeable,
    merge_schedule,
    merge_schedule_to_keep,
)
from mimgen.ops.positions import flat_index, gather_tokens

_SHORTEST = 1e-12  # of a vector that is divided by its length

__all__ = [
    "Matching",
    "Merged",
    "combine",
    "match",
    "match_every",
    "match_random",
    "max_mergeable",
    "merge",
    "merge_schedule",
    "merge_schedule_to_keep",
    "unmerge",
    "unmerge_by_source",
]


@dataclass(frozen=True)
class Matching:
    """Which of T tokens stay, and which merge into which.

    The functions of this module name each of the T tokens that they speak of once, M + R = T; `group`, `unmerge` and
    `Merged` rely on it. `merge` does not: a token that is named nowhere is lost, and one of size 0 may be named often,
    as padding.

    Attributes:
        kept: [B, M] int64 positions of the tokens that stay, in the order of the result.
        moved: [B, R] int64 positions of the tokens that merge away.
        into: [B, R] int64 positions in the result that receive them.
    """

    kept: Tensor
    moved: Tensor
    into: Tensor

    @cached_property
    def group(self) -> Tensor:
        """[B, T] int64, the place in the result of every token."""
        positions = torch.arange(self.kept.shape[1], device=self.kept.device).expand_as(self.kept)
        group = self.kept.new_empty(len(self.kept), self.kept.shape[1] + self.moved.shape[1])
        return group.scatter(1, self.kept, positions).scatter(1, self.moved, self.into)


@dataclass(frozen=True)
class Merged:
    """What became of N tokens so far.

    Attributes:
        sizes: [B, T, 1] number of original tokens behind each of the T tokens.
        first: [B, N] int64, the token that each original token was part of before `steps`.
        steps: the matchings since then. They are followed only where somebody asks: a classifier never does.
    """

    sizes: Tensor
    first: Tensor
    steps: tuple[Matching, ...] = ()

    @classmethod
    def start(cls, x: Tensor) -> Merged:
        """Nothing merged yet of x [B, N, D]."""
        sizes = torch.ones(*x.shape[:2], 1, dtype=x.dtype, device=x.device)
        return cls(sizes, torch.arange(x.shape[1], device=x.device).expand(x.shape[:2]))

    @property
    def count(self) -> int:
        """Number N of original tokens."""
        return self.first.shape[1]

    @property
    def any(self) -> bool:
        """Whether tokens have merged at all."""
        return self.sizes.shape[1] < self.count

    @cached_property
    def group(self) -> Tensor:
        """[B, N] int64, the token that each original token is part of."""
        group = self.first
        for step in self.steps:
            group = step.group.gather(1, group)
        return group

    @property
    def source(self) -> Tensor:
        """[B, T, N] boolean, true where original token n is part of token t; columns sum to 1."""
        positions = torch.arange(self.sizes.shape[1], device=self.group.device)
        return self.group[:, None] == positions[:, None]

    def unmerge(self, x: Tensor) -> Tensor:
        """Copy tokens [B, T, D] back to the original ones: [B, N, D]."""
        return gather_tokens(x, self.group)

    def through(self, x: Tensor, matching: Matching) -> tuple[Tensor, Merged]:
        """Merge x [B, T, D] along `matching`: [B, M, D] and the new record."""
        x, sizes = merge(x, matching, self.sizes)
        return x, Merged(sizes, self.first, (*self.steps, matching))


@torch.no_grad()
def match(metric: Tensor, remove: int, *, protected: int = 1) -> Matching:
    """Bipartite soft matching (section 3): even tokens each propose their most similar odd token.

    The `remove` best proposals are carried out. Order of the result: protected tokens, remaining even
    tokens (by position; by falling similarity where nothing is protected, as the official code does),
    odd tokens.

    Args:
        metric: [B, T, D]; similarity is the cosine.
        remove: number of tokens to remove.
        protected: leading tokens (class, distillation, registers) that neither merge nor receive.

    Raises:
        UserError: `remove` is negative or above half of the unprotected tokens.
    """
    check_merge_count(metric.shape[1], remove, protected)
    # the first proposer and the first receiver behind the protected tokens
    even, odd = protected + protected % 2, protected + 1 - protected % 2
    ask, receive = metric[:, even::2], F.normalize(metric[:, odd::2], dim=-1)  # [B, E, D], [B, O, D]
    best, partner = (ask @ receive.transpose(1, 2)).max(dim=-1)  # [B, E] each
    # which receiver is nearest does not depend on the length of who asks; who asks best does
    best = best / ask.norm(dim=-1).clamp(min=_SHORTEST)
    order = best.argsort(dim=-1, descending=True)
    moved, stay = order[:, :remove], order[:, remove:]
    if protected:
        stay = stay.sort(dim=1).values
    fixed = torch.arange(metric.shape[1], device=metric.device).expand(len(metric), -1)
    kept = torch.cat([fixed[:, :protected], 2 * stay + even, fixed[:, odd::2]], dim=1)  # [B, M]
    into = partner.gather(1, moved) + (kept.shape[1] - receive.shape[1])
    return Matching(kept, 2 * moved + even, into)


@torch.no_grad()
def match_every(metric: Tensor, every: int) -> Matching:
    """Merge each token into the most similar of every `every`-th token.

    Tokens beyond the last multiple of `every` are left out: the matching speaks of the first
    T // every * every tokens of metric [B, T, D].

    Raises:
        UserError: fewer than 2, or more than there are tokens.
    """
    if not 2 <= every <= metric.shape[1]:
        raise UserError(f"cannot keep every {every}-th of {metric.shape[1]} tokens: give 2 to {metric.shape[1]}")
    rows = torch.arange(metric.shape[1] // every * every, device=metric.device).unflatten(0, (-1, every))
    kept, moved = rows[:, -1], rows[:, :-1].flatten()
    return _nearest(metric, kept.expand(len(metric), -1), moved.expand(len(metric), -1))


@torch.no_grad()
def match_random(metric: Tensor, remove: int, scores: Tensor) -> Matching:
    """Merge the `remove` tokens of the lowest random score into their most similar other token.

    Args:
        metric: [B, T, D].
        remove: 0 to T - 1.
        scores: [B, T] sampled by the caller; the result is in rising order of score.

    Raises:
        UserError: no token would be left.
    """
    if not 0 <= remove < metric.shape[1]:
        raise UserError(f"cannot merge away {remove} of {metric.shape[1]} tokens: one must be left")
    order = scores.argsort(dim=1)
    return _nearest(metric, order[:, remove:], order[:, :remove])


def _nearest(metric: Tensor, kept: Tensor, moved: Tensor) -> Matching:
    """Each moved token goes into the kept one of the highest cosine."""
    metric = F.normalize(metric, dim=-1)
    scores = gather_tokens(metric, moved) @ gather_tokens(metric, kept).transpose(1, 2)  # [B, R, M]
    return Matching(kept, moved, scores.argmax(dim=-1))


def combine(x: Tensor, matching: Matching, how: Literal["sum", "mean", "amax"] = "sum") -> Tensor:
    """Reduce the tokens of each group, all counted alike: [B, T, D] -> [B, M, D]."""
    kept, moved = gather_tokens(x, matching.kept), gather_tokens(x, matching.moved)
    if how == "sum":
        return _add_to(kept, matching.into, moved)
    return kept.scatter_reduce(1, matching.into[..., None].expand_as(moved), moved, how)


def merge(x: Tensor, matching: Matching, sizes: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Size-weighted averages [B, M, D] of x [B, T, D], and the new sizes [B, M, 1] (ones to start with)."""
    if sizes is None:
        sizes = torch.ones(*x.shape[:2], 1, dtype=x.dtype, device=x.device)
    width, length = x.shape[2], matching.kept.shape[1]
    # positions in the whole batch, worked out once: with few tokens the many small steps cost more than the sums
    kept, moved = flat_index(matching.kept, x.shape[1]), flat_index(matching.moved, x.shape[1])
    into = flat_index(matching.into, length)
    tokens, counts = x.flatten(0, 1), sizes.flatten(0, 1)  # [B T, D], [B T, 1]
    own, arriving = counts.index_select(0, kept), counts.index_select(0, moved)
    total = own.index_add(0, into, arriving)  # [B M, 1], the new sizes
    arrivals = torch.zeros_like(own).index_add_(0, into, torch.ones_like(arriving)).index_select(0, into)
    new = total.index_select(0, into)
    # Only the few tokens that receive are changed, and each arrival carries its share of their lost weight: a pass
    # over all tokens would cost as much as selecting them.
    change = (own.index_select(0, into) / new - 1) / arrivals
    values = tokens.index_select(0, kept.index_select(0, into)).mul_(change)
    values.addcmul_(tokens.index_select(0, moved), arriving / new)
    result = tokens.index_select(0, kept).index_add_(0, into, values)
    return result.view(-1, length, width), total.view(-1, length, 1)


def unmerge(x: Tensor, matching: Matching) -> Tensor:
    """Copy merged tokens [B, M, D] back to where they came from: [B, T, D]."""
    return gather_tokens(x, matching.group)


def unmerge_by_source(source: Tensor, values: Tensor) -> Tensor:
    """Give every original token the value of its group: S^T Z.

    Args:
        source: [B, K, N] 0/1 matrix whose columns sum to 1.
        values: [B, K, D].

    Returns:
        [B, N, D], with gradient to `values`.
    """
    return gather_tokens(values, source.to(torch.uint8).argmax(dim=1))


def _add_to(x: Tensor, positions: Tensor, values: Tensor) -> Tensor:
    """x [B, M, D], contiguous and changed in place, with values [B, R, D] added at positions [B, R]."""
    x.view(-1, x.shape[2]).index_add_(0, flat_index(positions, x.shape[1]), values.flatten(0, 1))
    return x
