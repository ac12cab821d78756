"""Tables of rows that were measured with several seeds: text for people, numbers for programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mimgen.report.tables import mean_range

__all__ = ["Column", "Section", "read"]


def read(row: Mapping[str, Any], path: str) -> Any:
    """What lies at "part.name.name" of nested mappings; None where a step is missing or null."""
    value: Any = row
    for name in path.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        head: its heading.
        path: where its value lies in a row, see `read`.
        digits: after the decimal point.
        factor: 100 shows shares in percent.
    """

    head: str
    path: str
    digits: int = 2
    factor: float = 1

    def values(self, rows: Sequence[Mapping[str, Any]]) -> list[Any]:
        """The values of the rows that have one; a single one where all are the same, as no seed changes it."""
        found = [value for value in (read(row, self.path) for row in rows) if value is not None]
        return found[:1] if len(set(found)) == 1 else found

    def cell(self, rows: Sequence[Mapping[str, Any]]) -> str:
        """Mean (lowest to highest) over the rows, or the words that they hold; "-" where there is nothing."""
        values = self.values(rows)
        if any(isinstance(value, str) for value in values):
            return ", ".join(sorted(set(map(str, values))))
        return mean_range([self.factor * value for value in values], self.digits)

    def score(self, rows: Sequence[Mapping[str, Any]]) -> Any:
        """JSON: the number, or mean, low, high (95 %) and values over seeds; None of words or of nothing."""
        from mimgen.probing import over_seeds

        values = self.values(rows)
        if not values or any(isinstance(value, str | bool) for value in values):
            return None
        return over_seeds(values).as_dict() if len(values) > 1 else values[0]


@dataclass(frozen=True)
class Section:
    """A table under a heading.

    Attributes:
        title: the heading.
        columns: those after the label of a line.
        lines: the rows behind each line, one for each seed, by its label; a line without rows is left out.
        text: what a reader must know.
        head: heading of the labels.
    """

    title: str
    columns: Sequence[Column]
    lines: Mapping[str, Sequence[Mapping[str, Any]]]
    text: str = ""
    head: str = "arm"

    def cells(self) -> tuple[list[str], list[list[str]]]:
        """Headings, and the cells of each line."""
        heads = [self.head, *(column.head for column in self.columns)]
        lines = [(label, rows) for label, rows in self.lines.items() if rows]
        return heads, [[label, *(column.cell(rows) for column in self.columns)] for label, rows in lines]

    def scores(self) -> dict[str, dict[str, Any]]:
        """Numbers by line and column."""
        scores: dict[str, dict[str, Any]] = {}
        for label, rows in self.lines.items():
            numbers = {column.head: column.score(rows) for column in self.columns} if rows else {}
            scores[label] = {head: number for head, number in numbers.items() if number is not None}
        return scores
