"""`mimgen evaluate scenes`: does a generated image show what its caption says? Checked exactly, kind by kind."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mimgen.cli.options import parse
from mimgen.evaluation.scene_run import SceneEvaluation

__all__ = ["main"]


@dataclass(frozen=True)
class Arguments(SceneEvaluation):
    """Generate an image for each caption of the scene set and check it from its pixels.

    Attributes:
        out: write the result to this JSON file and its page beside it.
    """

    out: Path | None = None


def main(arguments: list[str]) -> int:
    """Generate or read, check, print and write."""
    options = parse(Arguments, arguments, "mimgen evaluate scenes")

    from mimgen.report.evaluate_page import scenes_text, write_scenes

    found = options.run()
    print(scenes_text(found.result))
    if options.out is not None:
        print(f"written to {write_scenes(options.out, found)}")
    return 0
