"""`mimgen evaluate compare A.json B.json`: what two results differ in, and whether they may be compared."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from mimgen.cli.options import parse
from mimgen.report.compare import compare, comparison_text
from mimgen.report.result import read_outcome

__all__ = ["main"]


@dataclass(frozen=True)
class Arguments:
    """Print how two results differ and whether their protocols match.

    The difference is B minus A. Exit status 0 when the protocols match, 1 when they do not.

    Attributes:
        first: result A, a JSON file that a measuring command wrote with --out.
        second: result B.
    """

    first: Positional[Path]
    second: Positional[Path]


def main(arguments: list[str]) -> int:
    """Compare two result files and print it."""
    options = parse(Arguments, arguments, "mimgen evaluate compare")
    first, second = read_outcome(options.first), read_outcome(options.second)
    found = compare(first, second)
    for letter, path, result in (("A", options.first, first), ("B", options.second, second)):
        print(f"{letter}: {result.get('model', '(no model)')}, {result.get('date', 'no date')}  ({path})")
    print(f"\n{comparison_text(found)}")
    return 1 if found.protocol else 0
