"""`mimgen evaluate generation`: FID, KID, IS and PRC of a model's images, or of a folder's."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from mimgen.cli.options import parse
from mimgen.evaluation.generation_run import GenerationEvaluation

__all__ = ["evaluate", "main"]


@dataclass(frozen=True)
class Arguments(GenerationEvaluation):
    """Compare generated images with true ones: FID, KID, inception score, precision and recall.

    For example: mimgen evaluate generation --samples made/ --reference true/ --metrics fid,kid --out fid.json

    Images are compared as 8-bit colours. The numbers equal those of torch-fidelity's own command on the same
    folders, with the same extractor. Under torchrun the processes share the images.

    Attributes:
        out: also write the result to this JSON file and a page beside it.
    """

    out: Path | None = None


def main(arguments: list[str]) -> int:
    """Measure, print the scores and write them."""
    options = parse(Arguments, arguments, "mimgen evaluate generation")
    return evaluate(options, options.out)


def evaluate(evaluation: GenerationEvaluation, out: Path | None) -> int:
    """Carry out `evaluation`; the first process of a launch prints it and writes it to `out`."""
    from mimgen.ops.launch import is_main_process
    from mimgen.report.evaluate_page import generation_text, write_generation

    found = evaluation.run()
    if not is_main_process():
        return 0
    print(generation_text(found.result))
    for text in found.result["warnings"]:
        print(f"warning: {text}", file=sys.stderr)
    if out is not None:
        print(f"written to {write_generation(out, found)}")
    return 0
