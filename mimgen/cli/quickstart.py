"""`mimgen quickstart`: from nothing to images, scores and a report, in minutes."""

from __future__ import annotations

from dataclasses import dataclass

from mimgen.cli.options import parse
from mimgen.recipes.quickstart import Quickstart

__all__ = ["main"]


@dataclass(frozen=True)
class Arguments(Quickstart):
    """Train a tokenizer and a text-to-image generator from nothing, make images, measure, report.

    Stopped half-way? The same command resumes where it was.
    """


def main(arguments: list[str]) -> int:
    """Run the stages that are not done yet, write the report, say what to try next."""
    options = parse(Arguments, arguments, "mimgen quickstart")
    results = options.run(["quickstart", *arguments], progress=lambda line: print(line, flush=True))

    from mimgen.report.quickstart import closing

    print(closing(options.out, results))
    return 0
