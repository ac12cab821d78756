"""Two results side by side: what they differ in, and whether they may be compared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mimgen.errors import UserError
from mimgen.report.result import Score, flat_scores
from mimgen.report.tables import aligned

__all__ = ["Comparison", "Row", "compare", "comparison_text"]

_ABSENT = "(not stated)"
_TOOLS = ("version", "commit", "changed", "versions", "machine")  # may differ without harm, but should be known


@dataclass(frozen=True)
class Row:
    """One score in both results; None where a result lacks it."""

    name: str
    first: Score | None
    second: Score | None

    @property
    def difference(self) -> float | None:
        """Second minus first."""
        if self.first is None or self.second is None:
            return None
        return self.second.value - self.first.value

    @property
    def apart(self) -> bool | None:
        """Whether the intervals are disjoint; None where a result states none."""
        if self.first is None or self.second is None:
            return None
        a, b = self.first, self.second
        if a.low is None or a.high is None or b.low is None or b.high is None:
            return None
        return a.high < b.low or b.high < a.low


@dataclass(frozen=True)
class Comparison:
    """Two results side by side.

    Attributes:
        rows: every score of either.
        protocol: fields in which the protocols differ, with both values; empty when they match.
        tools: versions, commits and machines that differ.
    """

    rows: tuple[Row, ...]
    protocol: dict[str, tuple[Any, Any]]
    tools: dict[str, tuple[Any, Any]]


def compare(first: Mapping[str, Any], second: Mapping[str, Any]) -> Comparison:
    """Compare two results as `write_outcome` wrote them.

    The kind of measure counts as part of the protocol.

    Raises:
        UserError: the results have no score in common, so there is nothing to compare.
    """
    scores = flat_scores(first["scores"]), flat_scores(second["scores"])
    if not scores[0].keys() & scores[1].keys():
        names = [", ".join(list(part)[:4]) or "none" for part in scores]
        raise UserError(f"the results have no score in common: A holds {names[0]}; B holds {names[1]}")
    protocols = [
        {"measure": result.get("measure"), **_flat(result.get("protocol") or {})}
        for result in (first, second)
    ]
    tools = [_flat({name: result[name] for name in _TOOLS if name in result}) for result in (first, second)]
    rows = tuple(Row(name, scores[0].get(name), scores[1].get(name)) for name in scores[0] | scores[1])
    return Comparison(rows, _differing(*protocols), _differing(*tools))


def _flat(fields: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in fields.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{prefix}{name} / ")
        else:
            found[f"{prefix}{name}"] = value
    return found


def _differing(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    pairs = {name: (first.get(name, _ABSENT), second.get(name, _ABSENT)) for name in {**first, **second}}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def _table(rows: tuple[Row, ...]) -> list[str]:
    cells = aligned([("score", "A", "B", "B - A"), *(_cells(row) for row in rows)], left=1)
    notes = ["", *({None: "", True: "  intervals are apart", False: "  intervals overlap"}[row.apart] for row in rows)]
    return [line + note for line, note in zip(cells, notes, strict=True)]


def _cells(row: Row) -> tuple[str, str, str, str]:
    difference = "" if row.difference is None else f"{row.difference:+.4g}"
    return row.name, _shown(row.first), _shown(row.second), difference


def _shown(score: Score | None) -> str:
    if score is None:
        return "-"
    return f"{score} ({score.interval})" if score.interval else str(score)


def comparison_text(found: Comparison) -> str:
    """The scores side by side, and whether the protocols match, as text."""
    lines = [*_table(found.rows), ""]
    if found.protocol:
        lines.append(
            f"The protocols do NOT match ({len(found.protocol)} differ); the difference is not the models' alone:"
        )
        lines += [f"  {name}: A {a!r}, B {b!r}" for name, (a, b) in found.protocol.items()]
    else:
        lines.append("The protocols match.")
    if found.tools:
        lines.append("Also different, outside the protocol:")
        lines += [f"  {name}: A {a!r}, B {b!r}" for name, (a, b) in found.tools.items()]
    return "\n".join(lines)
