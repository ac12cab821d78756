"""`mimgen bench study tokenizers | mergevq`: systems trained with equal budgets, side by side."""

from __future__ import annotations

import importlib

from mimgen.commands.options import choose

__all__ = ["main"]

USAGE = """usage: mimgen bench study tokenizers | mergevq [options]

  tokenizers  train several tokenizers with one budget; compare pictures, codes, labels and speed
  mergevq     one MergeVQ at every number of kept tokens, against a grid of as many tokens

Stopped half-way? The same command goes on where it was. result.json and result.md are the outcome."""


def main(arguments: list[str]) -> int:
    """Run the study named first."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(USAGE)
        return 0
    name, *rest = arguments
    choose(name, ["tokenizers", "mergevq"], "study")
    return importlib.import_module(f"mimgen.commands.study_{name}").main(rest)  # type: ignore[no-any-return]
