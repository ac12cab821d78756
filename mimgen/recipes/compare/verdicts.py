"""When the study of MergeVQ calls a claim confirmed: rules stated before measuring."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["HypothesisOutcome", "outcomes"]

Row = dict[str, Any]
COST = 1.2  # recovered squared error against that of the true source
FALLING = -0.5  # rank correlation of accuracy with the number of tokens
DECIBEL = 10.0


@dataclass(frozen=True)
class HypothesisOutcome:
    """Outcome of one claim.

    Attributes:
        hypothesis: what is claimed.
        rule: when it counts as confirmed.
        outcome: "confirmed", "refuted" or "undecided".
        evidence: the numbers that decided.
    """

    hypothesis: str
    rule: str
    outcome: str
    evidence: str

    def as_dict(self) -> dict[str, str]:
        """JSON form."""
        return asdict(self)


def outcomes(merging: Sequence[Row], grid: Sequence[Row]) -> list[HypothesisOutcome]:
    """Evaluate the claims.

    Args:
        merging: of each seed {"seed", "keeps": [what `kept` returns, ...]}.
        grid: the same of the merge-free baseline, with the same seeds; may be empty.
    """
    found = [_probe(merging, "probe_class", "class token"), _probe(merging, "probe_tokens", "mean of the kept tokens")]
    found += [_monotone(merging), _recovery(merging), _cost(merging)]
    return [*found, _grid(merging, grid)] if grid else found


def _probe(rows: Sequence[Row], key: str, what: str) -> HypothesisOutcome:
    rule = (
        f"in every seed the fewest kept tokens beat all tokens, and the rank correlation of accuracy with the "
        f"number of tokens, averaged over seeds, is at most {FALLING}; refuted if the fewest never beat all"
    )
    hypothesis = f"fewer tokens, better probe ({what})"
    curves = [_curve(row, key) for row in rows]
    if any(len(curve) < 2 for curve in curves) or not curves:
        return HypothesisOutcome(hypothesis, rule, "undecided", "fewer than two keep counts with labels")
    gains = [curve[0][1] - curve[-1][1] for curve in curves]
    falling = sum(rank_correlation(curve) for curve in curves) / len(curves)
    sure = all(gain > 0 for gain in gains) and falling <= FALLING
    outcome = "confirmed" if sure else "refuted" if all(gain <= 0 for gain in gains) else "undecided"
    evidence = f"fewest minus all, in points: {_list(100 * gain for gain in gains)}; rank correlation {falling:.2f}"
    return HypothesisOutcome(hypothesis, rule, outcome, evidence)


def _monotone(rows: Sequence[Row]) -> HypothesisOutcome:
    hypothesis, rule = "more tokens, better images", "in every seed PSNR rises with every larger keep count"
    steps = [[b - a for (_, a), (_, b) in itertools.pairwise(_curve(row, "psnr"))] for row in rows]
    lowest = [min(each) for each in steps if each]
    if not lowest:
        return HypothesisOutcome(hypothesis, rule, "undecided", "fewer than two keep counts")
    outcome = "confirmed" if all(step > 0 for step in lowest) else "refuted"
    return HypothesisOutcome(hypothesis, rule, outcome, f"smallest step in dB: {_list(lowest)}")


def _recovery(rows: Sequence[Row]) -> HypothesisOutcome:
    hypothesis = "learned source recovery restores detail"
    rule = (
        "at every keep count in every seed its PSNR and its share of positions in their own group are above those "
        "of codes laid out in a square; refuted if its PSNR is never above"
    )
    pairs = [(row["learned"], row["nearest"]) for seed in rows for row in seed["keeps"] if row["learned"]]
    if not pairs:
        return HypothesisOutcome(hypothesis, rule, "undecided", "the model has no learned recovery")
    gains = [ours["psnr"] - theirs["psnr"] for ours, theirs in pairs]
    groups = [ours["agreement"] - theirs["agreement"] for ours, theirs in pairs]
    sure = min(gains) > 0 and min(groups) > 0
    outcome = "confirmed" if sure else "refuted" if max(gains) <= 0 else "undecided"
    evidence = (
        f"PSNR gain {min(gains):.2f} to {max(gains):.2f} dB; positions in their group "
        f"{100 * _mean(ours['agreement'] for ours, _ in pairs):.1f} % against "
        f"{100 * _mean(theirs['agreement'] for _, theirs in pairs):.1f} %"
    )
    return HypothesisOutcome(hypothesis, rule, outcome, evidence)


def _cost(rows: Sequence[Row]) -> HypothesisOutcome:
    hypothesis = "recovered sources are as good as true ones"
    rule = (
        f"at every keep count in every seed the squared error (geometric mean over images) is below {COST} times "
        "that with the true source"
    )
    ratios = [
        10 ** ((row["psnr"] - row["learned"]["psnr"]) / DECIBEL)
        for seed in rows for row in seed["keeps"] if row["learned"]
    ]  # fmt: skip
    if not ratios:
        return HypothesisOutcome(hypothesis, rule, "undecided", "the model has no learned recovery")
    outcome = "confirmed" if max(ratios) < COST else "refuted"
    return HypothesisOutcome(hypothesis, rule, outcome, f"error ratio {min(ratios):.2f} to {max(ratios):.2f}")


def _grid(merging: Sequence[Row], grid: Sequence[Row]) -> HypothesisOutcome:
    hypothesis = "merged tokens keep more of an image than a grid of as many"
    rule = "at every keep count below all tokens, in every seed, PSNR is above the grid's; refuted if never"
    gains = []
    for ours, theirs in zip(merging, grid, strict=True):
        other = dict(_curve(theirs, "psnr"))
        gains += [value - other[keep] for keep, value in _curve(ours, "psnr")[:-1] if keep in other]
    if not gains:
        return HypothesisOutcome(hypothesis, rule, "undecided", "no common keep count")
    outcome = "confirmed" if min(gains) > 0 else "refuted" if max(gains) <= 0 else "undecided"
    return HypothesisOutcome(hypothesis, rule, outcome, f"PSNR gain {min(gains):.2f} to {max(gains):.2f} dB")


def rank_correlation(curve: Sequence[tuple[int, float]]) -> float:
    """Spearman's coefficient of pairs; 0 where one side is constant."""
    import torch

    ranks = [_ranks([pair[side] for pair in curve]) for side in (0, 1)]
    x, y = (torch.tensor(values, dtype=torch.float64) for values in ranks)
    x, y = x - x.mean(), y - y.mean()
    scale = float((x.square().sum() * y.square().sum()).sqrt())
    return float((x * y).sum()) / scale if scale else 0.0


def _ranks(values: Sequence[float]) -> list[float]:
    """Positions in ascending order, ties sharing their mean."""
    ordered = sorted(values)
    return [ordered.index(value) + (ordered.count(value) - 1) / 2 for value in values]


def _curve(row: Row, key: str) -> list[tuple[int, float]]:
    """(keep count, value), ascending, where there is a value."""
    return sorted((each["keep"], each[key]) for each in row["keeps"] if each[key] is not None)


def _mean(values: Any) -> float:
    found = list(values)
    return sum(found) / len(found)


def _list(values: Any) -> str:
    return ", ".join(f"{value:.2f}" for value in values)
