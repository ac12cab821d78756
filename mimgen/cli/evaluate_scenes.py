"""`mimgen evaluate scenes`: does a generated image show what its caption says? Checked exactly, kind by kind."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mimgen.cli.options import parse
from mimgen.errors import UserError
from mimgen.pipelines.open import BUNDLED, open_pipeline

if TYPE_CHECKING:
    from torch import Tensor

    from mimgen.evaluation.scenes import SceneCheck
    from mimgen.pipelines import TextToImagePipeline
    from mimgen.report.page import Gallery, Scores

__all__ = ["main"]

_SHOWN = 24  # images of each kind, right and wrong, on the page
_BATCH = 64


@dataclass(frozen=True)
class Arguments:
    """Generate an image for each caption of the scene set and check it from its pixels.

    Attributes:
        model: "bundled", a run folder or a pipeline folder, trained on the data "scenes".
        samples: score these images instead: a data set whose captions are of the scene set.
        split: captions to generate: compose (pairs of colour and shape that training never shows) or val.
        limit: only so many captions: the first of the split, or spread over --samples.
        seed: of the images; each has its own, mixed from this and its number.
        steps: unmasking steps; by default the model's.
        guidance: guidance scale; by default the model's.
        pixels: side of the images of --samples.
        clip: folder with a CLIP model of transformers, to add the CLIP score.
        out: write the result to this JSON file and its page beside it.
    """

    model: str = BUNDLED
    samples: str | None = None
    split: str = "compose"
    limit: int | None = None
    seed: int = 0
    steps: int | None = None
    guidance: float | None = None
    pixels: int = 64
    clip: Path | None = None
    out: Path | None = None


@dataclass(frozen=True)
class _Made:
    """Images [n, 3, S, S] in [0, 1], their captions, and how they came about."""

    images: Tensor
    captions: list[str]
    facts: dict[str, Any]
    reconstructed: Tensor | None = None


def main(arguments: list[str]) -> int:
    """Generate or read, check, print and write."""
    options = parse(Arguments, arguments, "mimgen evaluate scenes")
    if options.limit is not None and options.limit < 1:
        raise UserError(f"--limit {options.limit}: give at least 1")
    made = _read(options) if options.samples is not None else _generate(options)

    from mimgen.evaluation.scenes import evaluate_scenes, verify_scenes

    checks = verify_scenes(made.images, made.captions)
    found = evaluate_scenes(checks)
    scores, errors = found.pop("scores"), found["errors"]
    if made.reconstructed is not None:
        found["ceiling"] = evaluate_scenes(verify_scenes(made.reconstructed, made.captions))["scores"]
    if options.clip is not None:
        from mimgen.evaluation.clip_score import clip_score

        clip = clip_score(made.images, made.captions, options.clip)
        scores["CLIP score"] = clip.pop("clip_score")
        found["clip"] = clip
    result = {
        "measure": "scenes",
        "model": options.samples or options.model,
        "protocol": {**made.facts, "n": len(checks), "clip": found.get("clip", {}).get("model")},
        "scores": scores,
        **found,
    }
    print("\n".join(_lines(scores, found.get("ceiling"), errors)))
    if options.out is not None:
        from mimgen.report.result import write_outcome

        sections: list[Gallery | Scores] = [_table(scores, found), *_galleries(made.images, checks)]
        lead = "Each image is right or wrong: its objects are read from the pixels, without any model."
        print(f"written to {write_outcome(options.out, result, sections, title='Scenes', lead=lead)}")
    return 0


def _generate(options: Arguments) -> _Made:
    """An image for each caption, and the true images through the model's tokenizer (the ceiling)."""
    import torch

    from mimgen.data import load_images
    from mimgen.data.builtin.scenes import open_scenes
    from mimgen.evaluation.measure import size_of, through
    from mimgen.types import mix_seed

    pipeline: TextToImagePipeline = open_pipeline(options.model)
    data = open_scenes(size_of(pipeline), options.split)
    numbers = list(range(len(data))[: options.limit])  # the first: kinds of caption take turns in the set
    captions = [data.captions[number] for number in numbers]
    seeds = [mix_seed(options.seed, number) for number in numbers]
    changes = {"num_inference_steps": options.steps, "guidance_scale": options.guidance}
    sampling_options: dict[str, Any] = {name: value for name, value in changes.items() if value is not None}
    made, back = [], []
    for start in range(0, len(numbers), _BATCH):
        rows = slice(start, start + _BATCH)
        made.append(pipeline(captions[rows], seed=seeds[rows], **sampling_options).images.cpu())
        with torch.no_grad():
            back.append(through(pipeline, load_images(data, numbers[rows])))
    facts = {
        "data": data.name,
        "fingerprint": data.fingerprint,
        "pixels": data.size,
        "seed": options.seed,
        "steps": pipeline.preset.steps if options.steps is None else options.steps,
        "guidance": pipeline.preset.guidance_scale if options.guidance is None else options.guidance,
    }
    return _Made(torch.cat(made), captions, facts, torch.cat(back))


def _read(options: Arguments) -> _Made:
    """Images made elsewhere, or the true ones (`--samples scenes`)."""
    from mimgen.data import Dataset, load_images, open_data
    from mimgen.data.builtin.scenes import open_scenes

    spec = str(options.samples)
    own = spec == "scenes"
    data = open_scenes(options.pixels, options.split) if own else open_data(spec, size=options.pixels)
    if not isinstance(data, Dataset):
        raise UserError(f"{spec} is a stream; measuring needs data on disk")
    if not len(data):
        raise UserError(f"{data.name} holds no images; check the folder")
    numbers = list(range(len(data))[: options.limit]) if own else _evenly_spaced(len(data), options.limit)
    facts = {"data": data.name, "fingerprint": data.fingerprint, "pixels": options.pixels}
    return _Made(load_images(data, numbers), [data.captions[number] for number in numbers], facts)


def _evenly_spaced(total: int, limit: int | None) -> list[int]:
    """`limit` numbers below `total`, evenly spread."""
    count = min(total, limit or total)
    return [index * total // count for index in range(count)]


def _lines(
    scores: dict[str, Any], ceiling: dict[str, Any] | None, errors: dict[str, dict[str, int]]
) -> list[str]:
    lines = []
    for name, score in scores.items():
        value, interval = (score, "") if not isinstance(score, dict) else (score["mean"], _interval(score))
        text = f"{value:.2f}" if name == "CLIP score" else f"{100 * value:5.1f} %{interval}"
        top = ceiling.get(name) if ceiling else None
        limit = (
            ""
            if top is None
            else f"  tokenizer's limit {100 * (top['mean'] if isinstance(top, dict) else top):.1f} %"
        )
        wrong = ", ".join(f"{count} x {fault}" for fault, count in errors.get(name, {}).items())
        lines.append(f"{name:14}{text}{limit}" + (f"  wrong: {wrong}" if wrong else ""))
    return lines


def _interval(score: dict[str, float]) -> str:
    return f" ({100 * score['low']:.1f} to {100 * score['high']:.1f})"


def _table(scores: dict[str, Any], found: dict[str, Any]) -> Scores:
    from mimgen.report.page import Scores

    rows = [
        (
            kind,
            str(count),
            scores[kind]["mean"],
            _interval(scores[kind]).strip(" ()"),
            _errors(found["errors"][kind]),
        )
        for kind, count in found["counts"].items()
    ]
    columns = ("kind of caption", "images", "right", "95 % interval", "first fault of the others")
    return Scores(
        "By kind of caption",
        "Right means: exactly what is claimed, and nothing else.",
        columns,
        rows,
        ours=-1,
    )


def _errors(errors: dict[str, int]) -> str:
    return ", ".join(f"{count} {fault}" for fault, count in errors.items()) or "none"


def _galleries(images: Tensor, checks: list[SceneCheck]) -> list[Gallery]:
    from mimgen.report.page import Gallery, Item

    found = []
    for title, right in (("Wrong images", False), ("Right images", True)):
        items = [
            Item({"made": image}, check.claim.caption, check.error or "")
            for image, check in zip(images, checks, strict=True)
            if check.right is right
        ][:_SHOWN]
        if items:
            found.append(Gallery(title, f"The first {len(items)}.", items, width=130))
    return found
