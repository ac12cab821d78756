"""`mimgen systems`: the published systems that mimgen covers, what exists of each and what was measured."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from mimgen.cli.options import parse
from mimgen.papers import PLANNED, Paper, built

__all__ = ["main", "table"]


@dataclass(frozen=True)
class Arguments:
    """List the systems: what exists, what it was compared with, what was measured.

    Attributes:
        json: print JSON in place of the table.
    """

    json: bool = False


def table(done: Sequence[Paper], planned: Sequence[Paper]) -> str:
    """The systems as aligned text, those that can be run first."""
    rows = [("system", "kind", "config or command", "parity cases", "measured", "title")]
    for paper in (*done, *planned):
        how = paper.config or paper.command or "planned"
        cases = f"{len(paper.cases)} recorded" if paper.cases else "-"
        rows.append((paper.slug, paper.kind, how, cases, paper.result or "-", paper.title))
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    lines = [
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths)), row[5]]).rstrip() for row in rows
    ]
    count = f"{len(done)} of {len(done) + len(planned)}"
    return "\n".join([*lines, "", f"{count} systems have a config or a command; the others are planned."])


def main(arguments: list[str]) -> int:
    """Print the table, or JSON with --json."""
    options = parse(Arguments, arguments, "mimgen systems")
    done = built()
    if options.json:
        print(json.dumps([asdict(paper) for paper in (*done, *PLANNED)], indent=1))
    else:
        print(table(done, PLANNED))
    return 0
