"""`mimgen compare NAME`: systems trained with equal budgets, side by side."""

from __future__ import annotations

import importlib

from mimgen.errors import choose

__all__ = ["main"]

USAGE = """usage: mimgen compare tokenizers | mergevq | probes | scaling | mim [options]

  tokenizers  train several tokenizers with one budget; compare images, codes, labels and speed
  mergevq     one MergeVQ at every number of kept tokens, against a grid of as many tokens
  probes      encoders side by side: what k-NN, linear and efficient probes read off them
  scaling     data x model x length: does the validation loss tell what transfers?
  mim         pretraining systems against their baselines at equal operations, claims evaluated

Stopped half-way? The same command resumes where it was. result.json and result.md are the outcome."""


def main(arguments: list[str]) -> int:
    """Run the study named first."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(USAGE)
        return 0
    name, *rest = arguments
    choose(name, ["tokenizers", "mergevq", "probes", "scaling", "mim"], "study")
    return importlib.import_module(f"mimgen.recipes.compare.{name}").main(rest)  # type: ignore[no-any-return]
