"""`mimgen evaluate`: measure a trained model, or compare two measurements."""

from __future__ import annotations

import importlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from mimgen.cli.options import parse
from mimgen.errors import UserError, choose
from mimgen.evaluation import measure
from mimgen.pipelines.open import BUNDLED, open_pipeline, open_tokenizer

__all__ = ["main"]

USAGE = """usage: mimgen evaluate MEASURE --model MODEL [options]
       mimgen evaluate compare A.json B.json

  reconstruction  how faithfully a tokenizer gives images back (PSNR, SSIM, rFID), and how much of its
                  codebook it uses
  composition     does a generated image show what its prompt says? prompts were held out of training
  fid             distance between generated and true images
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
SCORED = {
    "reconstruction": ("psnr_mean_of_images", "psnr_of_mean_mse", "ssim", "l1", "codebook", "rfid"),
    "composition": ("generated", "floor", "ceiling"),
    "fid": ("fid",),
    "probe": ("group", "subgroup"),
}


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
    result = {"measure": name, "model": options.model, **_measure(name, options)}

    print(json.dumps(_short(result), indent=1, ensure_ascii=False))
    if options.out is not None:
        from mimgen.report.result import write_outcome

        write_outcome(options.out, _outcome(name, result))
        print(f"written to {options.out}")
    return 0


def _measure(name: str, options: Arguments) -> dict[str, Any]:
    if name == "reconstruction":
        from mimgen.data import BUILT_IN

        split = options.split or ("val" if options.data in BUILT_IN else None)
        tokenizer, pixels = open_tokenizer(options.model, options.pixels, codes=False)
        return measure.reconstruction(
            tokenizer, options.data, pixels, split, options.limit, extractor=options.extractor, weights=options.weights
        )
    pipeline = open_pipeline(options.model)
    if name == "probe":
        return measure.probe(pipeline, options.data, seed=options.seed)
    scored = measure.composition(
        pipeline, options.data, seed=options.seed, steps=options.steps, guidance=options.guidance,
        limit=options.limit,
    )  # fmt: skip
    if name == "composition":
        return scored.result
    true = measure.images(options.data, measure.size_of(pipeline), "compose")
    facts = {key: scored.result[key] for key in ("seed", "steps", "guidance", "ema")}
    return {**measure.frechet(scored.made, true, options.extractor, options.weights), **facts,
            "reference_set": f"{options.data}/compose"}  # fmt: skip


def _outcome(name: str, result: dict[str, Any]) -> dict[str, Any]:
    """The result with its scores and its protocol apart, so that `compare` can read it."""
    scored = SCORED[name]
    protocol = {key: value for key, value in result.items() if key not in (*scored, "measure", "model")}
    return {**result, "protocol": _short(protocol), "scores": {key: result[key] for key in scored if key in result}}


def _short(result: dict[str, Any]) -> dict[str, Any]:
    """The result without its long lists."""
    return {
        key: _short(value) if isinstance(value, dict) else value
        for key, value in result.items()
        if not (isinstance(value, (list, tuple)) and len(value) > 8)
    }
