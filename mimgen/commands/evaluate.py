"""`mimgen evaluate reconstruction | composition | fid | probe`: measure a trained model."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from mimgen.bundled import pipeline_folder
from mimgen.commands import measure
from mimgen.commands.models import BUNDLED, find_pipeline, open_pipeline
from mimgen.commands.options import choose, parse
from mimgen.errors import UserError

if TYPE_CHECKING:
    from mimgen.recipes import DiscreteTokenizer

__all__ = ["main"]

USAGE = """usage: mimgen evaluate reconstruction | composition | fid | probe --model MODEL [options]

  reconstruction  how faithfully the tokenizer gives pictures back, and how much of its codebook it uses
  composition     does a generated picture show what its prompt says? prompts were held out of training
  fid             distance between generated and true pictures
  probe           how well labels are read off the generator's blocks, against raw pixels

MODEL is "bundled", a run folder, or a pipeline folder. The numbers go to the terminal, and with
--out to a JSON file that says how they were measured."""


@dataclass(frozen=True)
class Arguments:
    """Measure a trained model.

    Attributes:
        model: "bundled", the folder of a run, or a pipeline folder.
        data: the pictures to measure on; see `mimgen data show`.
        split: pictures of `reconstruction`; by default val of emoji and everything of other data.
        pixels: side of the pictures; by default what the model was trained at.
        seed: of the generated pictures.
        steps: unmasking steps; by default the model's.
        guidance: guidance scale; by default the model's.
        limit: measure only so many prompts.
        extractor: features of the FID: lab-hog needs no weights, inception-v3-compat is the usual one.
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


def main(arguments: list[str]) -> int:
    """Measure what is named first and print it."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(USAGE)
        return 0
    name, *rest = arguments
    choose(name, MEASURES, "measure")
    options = parse(Arguments, rest, f"mimgen evaluate {name}")
    result = {"measure": name, "model": options.model, **_measure(name, options)}

    from mimgen.evaluation import provenance, write_result

    print(json.dumps(_short(result), indent=1, ensure_ascii=False))
    if options.out is not None:
        write_result(options.out, provenance(**result))
        print(f"written to {options.out}")
    return 0


def _measure(name: str, options: Arguments) -> dict[str, Any]:
    if name == "reconstruction":
        split = options.split or ("val" if options.data == "emoji" else None)
        tokenizer, pixels = _tokenizer(options.model)
        return measure.reconstruction(tokenizer, options.data, options.pixels or pixels, split)
    pipeline = open_pipeline(options.model)
    if name == "probe":
        return measure.probe(pipeline, options.data, seed=options.seed)
    scored = measure.composition(
        pipeline, options.data, seed=options.seed, steps=options.steps, guidance=options.guidance,
        limit=options.limit,
    )  # fmt: skip
    if name == "composition":
        return scored.result
    true = measure.pictures(options.data, measure.size_of(pipeline), "compose")
    facts = {key: scored.result[key] for key in ("seed", "steps", "guidance", "ema")}
    return {**measure.frechet(scored.made, true, options.extractor, options.weights), **facts,
            "reference_set": f"{options.data}/compose"}  # fmt: skip


def _tokenizer(model: str) -> tuple[DiscreteTokenizer, int]:
    """The tokenizer meant by `model` and the size it was trained at."""
    from mimgen.recipes import load_tokenizer

    root = pipeline_folder() if model == BUNDLED else Path(model)
    if model == BUNDLED or not root.exists():
        find_pipeline(model)
    tokenizer = load_tokenizer(root)
    for place in (root, root / "pipeline", root.parent):
        index, settings = place / "model_index.json", place / "settings.json"
        if index.is_file():
            return tokenizer, int(json.loads(index.read_text("utf-8"))["resolution"][0])
        if settings.is_file():
            return tokenizer, int(json.loads(settings.read_text("utf-8"))["record"]["pixels"])
    raise UserError(f"{root} does not say at which size it was trained; pass --pixels")


def _short(result: dict[str, Any]) -> dict[str, Any]:
    """The result without its long lists."""
    return {
        key: _short(value) if isinstance(value, dict) else value
        for key, value in result.items()
        if not (isinstance(value, (list, tuple)) and len(value) > 8)
    }
