"""`mimgen evaluate`: measure a trained model, or compare two measurements."""

from __future__ import annotations

import importlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from mimgen.cli.options import parse
from mimgen.errors import UserError, choose
from mimgen.pipelines.open import BUNDLED, open_text_pipeline, open_tokenizer

__all__ = ["main"]

USAGE = """usage: mimgen evaluate MEASURE --model MODEL [options]
       mimgen evaluate compare A.json B.json

  reconstruction  how faithfully a tokenizer gives images back (PSNR, SSIM, rFID), and how much of its
                  codebook it uses
  composition     does a generated image show what its prompt says? prompts were held out of training
  fid             short for generation --metrics fid: held-out captions against their true images
  generation      FID, KID, IS, precision and recall of a model or a folder of images, with saved references
  scenes          do images of synthetic shapes show what their captions say? checked exactly, without a model
  probe           how well labels are read off the generator's blocks, against raw pixels (more: mimgen probe)
  compare         two results that --out wrote: differences, and whether they were measured alike

MODEL is "bundled", a run folder, a pipeline folder or, for reconstruction, any tokenizer's folder.
The numbers go to the terminal, and with --out to a JSON file that says how they were
measured, with a page beside it."""


@dataclass(frozen=True)
class Arguments:
    """Measure a trained model.

    Attributes:
        model: "bundled", the folder of a run, a pipeline folder, or (reconstruction) of a tokenizer.
        data: the images to measure on; see `mimgen data show`.
        split: images of `reconstruction`; by default val of built-in and everything of other data.
        pixels: side of the images; by default what the model was trained at.
        seed: of the generated images.
        steps: unmasking steps; by default the model's.
        guidance: guidance scale; by default the model's.
        limit: measure only so many images or prompts, spread over the data.
        extractor: features of FID and rFID: lab-hog needs no weights, inception-v3-compat is the usual one.
        weights: file with the Inception weights; nothing is downloaded.
        out: also write the result to this JSON file.
    """

    model: str = BUNDLED
    data: str = "emoji"
    split: str | None = None
    pixels: int | None = None
    seed: int = 0
    steps: int | None = None
    guidance: float | None = None
    limit: int | None = None
    extractor: Literal["lab-hog", "inception-v3-compat"] = "lab-hog"
    weights: str | None = None
    out: Path | None = None


MEASURES = ("reconstruction", "composition", "fid", "probe")
# measures with flags of their own, each in the file named after it
OTHERS = ("generation", "scenes", "compare")


def main(arguments: list[str]) -> int:
    """Measure what is named first and print it."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(USAGE)
        return 0
    name, *rest = arguments
    choose(name, [*MEASURES, *OTHERS], "measure")
    if name in OTHERS:
        module = importlib.import_module(f"mimgen.cli.evaluate_{name}")
        status: int = module.main(rest)
        return status
    options = parse(Arguments, rest, f"mimgen evaluate {name}")
    if options.limit is not None and options.limit < 2:
        raise UserError(f"--limit {options.limit}: give at least 2")
    if name == "fid":
        return _fid(options)

    from mimgen.evaluation import measure

    result = _measured(name, options)
    shown = {"measure": name, "model": options.model, **measure.without_long_lists(result)}
    print(json.dumps(shown, indent=1, ensure_ascii=False))
    if options.out is not None:
        from mimgen.report.result import write_outcome

        print(f"written to {write_outcome(options.out, measure.comparable(name, options.model, result))}")
    return 0


def _fid(options: Arguments) -> int:
    """`evaluate generation` of the captions that training did not see, against their true images."""
    from mimgen.cli.evaluate_generation import evaluate
    from mimgen.evaluation.generation_run import GenerationEvaluation

    evaluation = GenerationEvaluation(
        model=options.model, reference=options.data, split="compose", metrics="fid", n=options.limit,
        extractor=options.extractor, weights=options.weights, seed=options.seed, steps=options.steps,
        guidance=options.guidance,
    )  # fmt: skip
    return evaluate(evaluation, options.out)


def _measured(name: str, options: Arguments) -> dict[str, Any]:
    from mimgen.data import evaluation_split
    from mimgen.evaluation import measure

    if name == "reconstruction":
        split = options.split or evaluation_split(options.data)
        tokenizer, pixels = open_tokenizer(options.model, options.pixels, codes=False)
        return measure.reconstruction(
            tokenizer, options.data, pixels, split, options.limit, extractor=options.extractor, weights=options.weights
        )
    pipeline = open_text_pipeline(options.model)
    if name == "probe":
        return measure.probe(pipeline, options.data, seed=options.seed)
    scored = measure.composition(
        pipeline, options.data, seed=options.seed, steps=options.steps, guidance=options.guidance,
        limit=options.limit,
    )  # fmt: skip
    return scored.result
