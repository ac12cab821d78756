"""`mimgen compare NAME`: systems trained with equal budgets, side by side."""

from __future__ import annotations

from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

from mimgen import configs
from mimgen.cli.options import parse

__all__ = ["main"]

FOLDER = "compare"  # of configs/


def main(arguments: list[str]) -> int:
    """Run the comparison named first; 1 if a row failed."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_usage())
        return 0
    name, *rest = arguments
    function = configs.experiment(name, FOLDER)
    default = Path("runs") / f"compare-{name}"
    kind = configs.arguments_of(function, str(default))
    options: Any = parse(kind, rest, f"mimgen compare {name}")
    values = {field.name: getattr(options, field.name) for field in fields(kind)}
    out = values.pop("out") or default
    finished = function(**values).run(out, partial(print, flush=True))
    print(f"\n{finished.text}\nwritten to {finished.path}, result.html and result.md")
    return 1 if finished.failures else 0


def _usage() -> str:
    known = configs.names(FOLDER)
    width = max(map(len, known))
    lines = "\n".join(f"  {name.ljust(width)}  {configs.summary(name, FOLDER)}" for name in known)
    return (
        f"usage: mimgen compare NAME [options]        mimgen compare NAME --help lists the options\n\n{lines}\n\n"
        "Every row is computed once: the same command resumes where it stopped. result.json, result.md and "
        "result.html are the outcome."
    )
