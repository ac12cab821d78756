"""How many tokens MergeVQ keeps, how often, and what each layer removes to get there.

Keep counts are squares, because the kept tokens travel in a square container.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from mimgen.errors import UserError
from mimgen.layers.merge_schedule import merge_schedule, merge_schedule_to_keep

INFLECTION = -0.5


def probabilities(distribution: str, count: int) -> tuple[float, ...]:
    """Probability of each of `count` candidates (appendix A.3).

    "gaussian": exp(-(k - 1)^2 / (2 * 0.5^2)) + 0.05, so that the second is the most likely;
    "exponential": 2 exp(-2 k) + 0.1; "uniform": all alike.

    Raises:
        UserError: an unknown distribution.
    """
    if distribution == "gaussian":
        weights = [math.exp(-((k - 1) ** 2) / 0.5) + 0.05 for k in range(count)]  # 2 * 0.5^2 = 0.5
    elif distribution == "exponential":
        weights = [2 * math.exp(-2 * k) + 0.1 for k in range(count)]
    elif distribution == "uniform":
        weights = [1.0] * count
    else:
        raise UserError(
            f'the keep counts\' distribution "{distribution}" is unknown: choose gaussian, exponential or uniform'
        )
    return tuple(weight / sum(weights) for weight in weights)


@dataclass(frozen=True)
class KeepCounts:
    """Candidate keep counts and how often each is sampled.

    Attributes:
        counts: squares, ascending.
        cumulative: running sum of their probabilities, to 5 decimals; the last is 1.
    """

    counts: tuple[int, ...]
    cumulative: tuple[float, ...]

    def sample(self, uniform: float) -> int:
        """The candidate of a uniform number in [0, 1): the first whose cumulative probability reaches it."""
        return self.counts[min(bisect_left(self.cumulative, uniform), len(self.counts) - 1)]


def keep_counts(centre: int, candidates: str | None) -> KeepCounts:
    """The keep counts (s + i)^2 around a centre s^2.

    Args:
        centre: keep count in the middle.
        candidates: "<distribution>-<n>" for n counts, with i from -1 for gaussian and from 0 for the others;
            None for the centre alone.

    Raises:
        UserError: text of another form, or a distribution that does not exist.
    """
    if candidates is None:
        return KeepCounts((centre,), (1.0,))
    name, _, number = candidates.partition("-")
    if not number.isdigit() or int(number) < 1:
        raise UserError(f'candidates "{candidates}" must be "<distribution>-<number>", for example "gaussian-6"')
    start = math.isqrt(centre) - (name == "gaussian")
    shares = probabilities(name, int(number))
    return KeepCounts(
        tuple((start + k) ** 2 for k in range(int(number))),
        tuple(round(total, 5) for total in accumulate(shares)),
    )


def base_merge_count(total: int, layers: int, inflection: float = INFLECTION) -> int:
    """The number r whose tilted plan (r, inflection) over `layers` layers comes nearest to `total`, lowest first."""
    best, gap = 0, abs(total)
    for r in range(1, abs(total) + 2):
        found = abs(total - sum(merge_schedule(layers, (r, inflection))))
        if found > gap:
            break
        if found < gap:
            best, gap = r, found
    return best


def official_merge_schedule(total: int, layers: int, inflection: float = INFLECTION) -> tuple[int, ...]:
    """Removal of each layer as the released code computes it, whether or not a layer can do it.

    The rest goes to the first layer for a falling plan and to the last otherwise; it may be negative. Layers
    that cannot remove so much remove less there, so that more tokens are kept than asked for: use
    `layer_merge_schedule` unless you need the same numbers.
    """
    plan = list(merge_schedule(layers, (base_merge_count(total, layers, inflection), inflection)))
    plan[0 if inflection < 0 else -1] += total - sum(plan)
    return tuple(plan)


def layer_merge_schedule(keep: int, tokens: int, layers: int) -> tuple[int, ...]:
    """Removal of each layer so that exactly `keep` of `tokens` tokens are left.

    Equal to `official_merge_schedule` wherever every layer can do its part (at most half of its tokens).

    Raises:
        UserError: `keep` cannot be reached; the message tells what can.
    """
    return merge_schedule_to_keep(keep, tokens, layers, inflection=INFLECTION)


def reachable_squares(tokens: int, layers: int) -> tuple[int, ...]:
    """The squares that `layers` layers can reduce `tokens` tokens to, ascending; `tokens` itself if a square."""
    fewest = tokens
    for _ in range(layers):
        # a layer merges even tokens into odd ones, so it removes at most half
        fewest -= fewest // 2
    return tuple(s * s for s in range(1, math.isqrt(tokens) + 1) if s * s >= fewest)


def check_keep(keep: int, tokens: int, allowed: Sequence[int]) -> None:
    """Raise a `UserError` unless `keep` is one of the `allowed` squares of an image of `tokens` tokens."""
    if keep in allowed:
        return
    if keep > tokens:
        reason = f"the image has only {tokens} tokens"
    elif keep < 1 or math.isqrt(keep) ** 2 != keep:
        reason = "kept tokens are packed in a square"
    else:
        reason = "a layer at most halves the tokens, and so few are not reached"
    raise UserError(f"cannot keep {keep} of {tokens} tokens: {reason}; keep one of {', '.join(map(str, allowed))}")
