"""What a comparison says about a hypothesis: paired differences, their interval, one of three outcomes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from mimgen.report.sections import read

__all__ = ["Contrast", "Hypothesis", "Outcome", "Paired", "Results", "Row", "by_seed", "outcome_of"]

Row = dict[str, Any]  # JSON

Results = Mapping[str, Sequence[Row]]  # rows of each arm, one for each seed; a row holds "seed" and its parts by name

# Differences in favour of the hypothesis: one number, or one for each test item (their mean is the number).
Contrast = float | Sequence[float]


@dataclass(frozen=True)
class Outcome:
    """One contrast of a hypothesis over all seeds.

    Attributes:
        hypothesis: what is tested.
        contrast: the difference that tests it; positive values support it.
        outcome: "supported" where the whole interval lies above the threshold, "refuted" where it lies below,
            else "open".
        mean: mean difference over seeds, None where no seed has all rows.
        low: lower end of the 95 % interval, None with fewer than two seeds.
        high: upper end.
        values: the difference of each seed.
        threshold: 0, or minus the margin of an "as good as" hypothesis.
        note: why the outcome is open although the interval is not.
    """

    hypothesis: str
    contrast: str
    outcome: Literal["supported", "refuted", "open"]
    mean: float | None
    low: float | None
    high: float | None
    values: tuple[float, ...]
    threshold: float = 0.0
    note: str = ""

    def as_dict(self) -> dict[str, Any]:
        """JSON form."""
        return asdict(self)


@dataclass(frozen=True)
class Hypothesis:
    """A hypothesis tested by numbers of several arms with the same seed.

    Attributes:
        text: in a few words.
        contrasts: from the rows of one seed by arm to named contrasts, positive in favour; a name that is left out
            (a part is missing, a grid too small) is not tested.
    """

    text: str
    contrasts: Callable[[Mapping[str, Row]], Mapping[str, Contrast]]

    def test(self, results: Results) -> list[Outcome]:
        """One outcome for each contrast, in their order; a single open one where no seed has any."""
        found: dict[str, list[Contrast]] = {}
        for rows in by_seed(results):
            for name, contrast in self.contrasts(rows).items():
                found.setdefault(name, []).append(contrast)
        outcomes = [outcome_of(self.text, name, contrasts) for name, contrasts in found.items()]
        return outcomes or [Outcome(self.text, "-", "open", None, None, None, (), note="not measured yet")]


@dataclass(frozen=True)
class Paired:
    """A hypothesis that one arm scores higher than another.

    Attributes:
        text: in a few words.
        arm: the arm that it speaks of.
        baseline: the arm that it is compared with.
        scores: where each score lies in a row, by name; see `read`.
        hits: where the test items lie that were right, as a string of 0 and 1, for those scores that have it.
        margin: how much lower the score may be, for hypotheses that say "as good as".
        untrained: the control with the network of `arm` as initialised. An arm that does not score above it has
            learned nothing that the score sees, so that its lead over the baseline supports nothing.
    """

    text: str
    arm: str
    baseline: str
    scores: Mapping[str, str]
    hits: Mapping[str, str]
    margin: float = 0.0
    untrained: str | None = None

    def test(self, results: Results) -> list[Outcome]:
        """One outcome for each score."""
        outcomes = []
        for name in self.scores:
            contrasts = self._differences(results, self.baseline, name)
            gains = [_mean(each) for each in self._differences(results, self.untrained, name)]
            note = ""
            if gains and _mean(gains) <= 0:
                note = f"{self.arm} scores {_mean(gains):+.4f} against its untrained network"
            label = f"{name}: {self.arm} - {self.baseline}"
            outcomes.append(outcome_of(self.text, label, contrasts, -self.margin, note))
        return outcomes

    def _differences(self, results: Results, other: str | None, name: str) -> list[Contrast]:
        if other is None:
            return []
        found: list[Contrast] = []
        for rows in by_seed(results):
            pair = [rows.get(arm, {}) for arm in (self.arm, other)]
            values = [read(row, self.scores[name]) for row in pair]
            if None in values:
                continue
            ours, theirs = (read(row, self.hits.get(name, "")) or "" for row in pair)
            if ours and len(ours) == len(theirs):
                found.append([int(a) - int(b) for a, b in zip(ours, theirs, strict=True)])
            else:
                found.append(values[0] - values[1])
        return found


def outcome_of(
    hypothesis: str, name: str, contrasts: Sequence[Contrast], threshold: float = 0.0, note: str = ""
) -> Outcome:
    """The outcome of one contrast over seeds.

    The interval is Student's over seeds and, where the difference of each test item is known, also the paired
    bootstrap over items: the hull of both, since either alone leaves out a source of chance. One seed says nothing
    about others, so its outcome is open.

    Args:
        hypothesis: what is tested.
        name: of the contrast.
        contrasts: one for each seed.
        threshold: what the difference must exceed.
        note: a reason to call a supported hypothesis open.
    """
    import torch

    from mimgen.probing import bootstrap, over_seeds

    values = tuple(_mean(each) for each in contrasts)
    if len(values) < 2 or not all(math.isfinite(value) for value in values):
        mean = _mean(values) if values else None
        note = "one seed gives no interval" if values else "not measured yet"
        return Outcome(
            hypothesis, name, "open", mean, low=None, high=None, values=values, threshold=threshold, note=note
        )
    interval = over_seeds(values)
    low, high = interval.low, interval.high
    items = [each for each in contrasts if isinstance(each, Sequence)]
    if len(items) == len(contrasts) and len({len(each) for each in items}) == 1:
        drawn = bootstrap(torch.tensor(items, dtype=torch.float64), seed=0)
        low, high = min(low, drawn.low), max(high, drawn.high)
    outcome: Literal["supported", "refuted", "open"] = "open"
    if high < threshold:
        outcome, note = "refuted", ""
    elif low > threshold:
        outcome = "open" if note else "supported"
    else:
        note = ""
    return Outcome(
        hypothesis, name, outcome, interval.mean, low=low, high=high, values=values, threshold=threshold, note=note
    )


def by_seed(results: Results) -> list[dict[str, Row]]:
    """The rows of each seed by arm, seeds ascending."""
    seeds = sorted({row["seed"] for rows in results.values() for row in rows})
    return [{arm: row for arm, rows in results.items() for row in rows if row["seed"] == seed} for seed in seeds]


def _mean(values: Contrast) -> float:
    return sum(values) / len(values) if isinstance(values, Sequence) else values
