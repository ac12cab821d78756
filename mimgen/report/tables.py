"""Tables of results as Markdown."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["aligned", "markdown", "mean_range", "percent"]


def markdown(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; the first column to the left, numbers to the right."""
    lines = [heads, ["---", *["---:"] * (len(heads) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def aligned(rows: Sequence[Sequence[str]], left: int = 0) -> list[str]:
    """Rows as lines of text in columns of equal width.

    Args:
        rows: the cells, as many in every row.
        left: so many columns, from the first on, stand to the left; the others to the right, as numbers do.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if column < left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def mean_range(values: Sequence[float | None], digits: int = 2) -> str:
    """The mean and, of several values, the lowest and highest in brackets; "-" where there is none."""
    found = [value for value in values if value is not None]
    if not found:
        return "-"
    mean = f"{sum(found) / len(found):,.{digits}f}"
    return mean if len(found) == 1 else f"{mean} ({min(found):,.{digits}f} to {max(found):,.{digits}f})"


def percent(share: float | None, digits: int = 1) -> str:
    """0.123 as "12.3"; "-" for None."""
    return "-" if share is None else f"{100 * share:.{digits}f}"
