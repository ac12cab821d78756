"""`mimgen evaluate generation`: FID, KID, IS and PRC of a model's images, or of a folder's."""

from __future__ import annotations

import os
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mimgen.cli.options import parse
from mimgen.errors import UserError
from mimgen.evaluation import generation_sets as sets
from mimgen.pipelines.open import find_pipeline, open_pipeline

if TYPE_CHECKING:
    from mimgen.evaluation.generation import FeatureSet, ImageSource, MetricSettings

__all__ = ["main"]

_SHOWN = 8


@dataclass(frozen=True)
class Arguments:
    """Compare generated images with true ones: FID, KID, inception score, precision and recall.

    For example: mimgen evaluate generation --samples made/ --reference true/ --metrics fid,kid --out fid.json

    Images are compared as 8-bit colours. The numbers equal those of torch-fidelity's own command on the same
    folders, with the same extractor. Under torchrun the processes share the images.

    Attributes:
        model: makes the samples: "bundled", the folder of a run, or a pipeline folder.
        samples: or a folder of image files made before.
        reference: true images: a folder of image files, data such as "emoji", or a .safetensors file made
            by --save-reference. Not needed for the inception score.
        metrics: of fid, kid, is, prc, separated by commas.
        extractor: features: lab-hog needs no weights, inception-v3-compat is the usual one, hf:FOLDER takes DINOv2
            or CLIP of transformers, and any encoder of `mimgen probe` works too.
        weights: file with the Inception weights; nothing is downloaded.
        layer: of Inception: 64, 192, 768 or 2048 (default).
        extractor_pixels: side at which an encoder sees the images; by default its own.
        n: images that the model makes; by default one per caption, at most 1000. Of a folder: measure so many.
        references: measure at most so many true images, spread over the set.
        prompts: data whose captions or classes the model generates; by default the reference, else emoji.
        split: of the reference and of the prompts; by default everything.
        pixels: bring images to this side first; by default folders stay as they are and data takes the model's.
        seed: of the generated images.
        steps: unmasking steps; by default the model's.
        guidance: guidance scale; by default the model's.
        batch_size: images at a time.
        kid_subsets: random subsets over which KID is averaged.
        kid_subset_size: images in each.
        is_splits: parts over which the inception score is averaged.
        prc_neighborhood: neighbours that make the balls of precision and recall.
        save_reference: also keep the reference's statistics in this .safetensors file. KID and PRC need every
            image's features, which are kept where they are among the metrics. Works without samples, too.
        out: also write the result to this JSON file and a page beside it.
    """

    model: str | None = None
    samples: Path | None = None
    reference: str | None = None
    metrics: str = "fid,kid,prc"
    extractor: str = "lab-hog"
    weights: str | None = None
    layer: str | None = None
    extractor_pixels: int | None = None
    n: int | None = None
    references: int | None = None
    prompts: str | None = None
    split: str | None = None
    pixels: int | None = None
    seed: int = 0
    steps: int | None = None
    guidance: float | None = None
    batch_size: int = 64
    kid_subsets: int = 100
    kid_subset_size: int = 1000
    is_splits: int = 10
    prc_neighborhood: int = 3
    save_reference: Path | None = None
    out: Path | None = None


def main(arguments: list[str]) -> int:
    """Measure, print the scores and write them."""
    options = parse(Arguments, arguments, "mimgen evaluate generation")
    metrics = [name.strip() for name in options.metrics.split(",") if name.strip()]
    _check(options, metrics)
    _join_launch()

    from mimgen.ops.launch import is_main_process

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        result, images = _measure(options, metrics)
    if not is_main_process():
        return 0
    caught_warnings = [str(each.message) for each in caught if each.category is UserWarning]
    result["warnings"] = list(dict.fromkeys([*caught_warnings, *result["warnings"]]))
    _show(result)
    if options.out is not None:
        _write(options.out, result, images)
    return 0


def _check(options: Arguments, metrics: list[str]) -> None:
    """Refuse what cannot be measured before anything is opened."""
    from mimgen.evaluation.generation import METRICS

    unknown = [name for name in metrics if name not in METRICS]
    if unknown or not metrics:
        raise UserError(f"--metrics {options.metrics!r}: choose some of {','.join(METRICS)}, separated by commas")
    if options.model is not None and options.samples is not None:
        raise UserError("give either --model or --samples, not both")
    if options.model is None and options.samples is None and options.save_reference is None:
        raise UserError("say what is measured: --model MODEL, or --samples FOLDER")
    if options.reference is None and (options.save_reference is not None or metrics != ["is"]):
        raise UserError("give --reference: a folder of true images, data such as emoji, or saved statistics")
    for name in ("n", "references", "batch_size", "kid_subset_size", "kid_subsets", "is_splits", "prc_neighborhood"):
        value = getattr(options, name)
        if value is not None and value < (2 if name in ("n", "references", "kid_subset_size") else 1):
            raise UserError(f"--{name.replace('_', '-')} {value} is too small")
    if options.model is not None:
        find_pipeline(options.model)


def _join_launch() -> None:
    """Under torchrun, meet the other processes; they share the images."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        from mimgen.training.processes import start_accelerate

        start_accelerate()


def _measure(options: Arguments, metrics: list[str]) -> tuple[dict[str, Any], dict[str, ImageSource]]:
    from mimgen.evaluation.generation import generation_scores, measure_images, save_features

    extractor = sets.extractor_of(
        options.extractor, options.weights, options.layer, options.extractor_pixels, logits="is" in metrics
    )
    keep = bool({"kid", "prc"} & set(metrics))
    made, side, facts = _samples(options)
    true, references = _references(options, side)
    if true is not None:
        references = measure_images(true, extractor, keep=keep, batch_size=options.batch_size)
    if options.save_reference is not None and references is not None and os.environ.get("RANK", "0") == "0":
        save_features(references, options.save_reference)
        facts["saved_reference"] = str(options.save_reference)
    head = {"measure": "generation", "model": options.model or str(options.samples or "none"), **facts}
    if made is None:
        assert references is not None  # asked for by _check
        return {**head, "protocol": dict(references.key), "scores": {}, "warnings": []}, {}
    samples = measure_images(made, extractor, keep=keep, batch_size=options.batch_size)
    found = generation_scores(samples, references, metrics, _settings(options))
    protocol = {**found.protocol, "samples_transform": samples.source["transform"], **facts.get("sampled", {})}
    result = {
        **{name: value for name, value in head.items() if name != "sampled"},
        "protocol": protocol,
        "scores": found.scores,
        "samples": dict(samples.source),
        "dimensions": samples.moments.dimensions,
        "weights_file": extractor.file,
        "warnings": list(found.warnings),
    }
    return result, {"generated": made, **({} if true is None else {"true": true})}


def _samples(options: Arguments) -> tuple[ImageSource | None, int | None, dict[str, Any]]:
    """The images to evaluate, the side at which data is opened beside them, and facts for the result."""
    if options.samples is not None:
        from mimgen.evaluation.generation import from_folder

        made = from_folder(options.samples, options.pixels, options.n)
        return made, int(made.read(0, 1).shape[-1]), {}
    if options.model is None:
        return None, None, {}
    pipeline = open_pipeline(options.model)
    side = pipeline.preset.resolution[0]
    spec = options.prompts or options.reference or "emoji"
    if sets.is_statistics(spec):
        spec = "emoji"
    requests = sets.requests_of(pipeline, sets.data_of(spec, options.split, side))
    options_given: dict[str, Any] = {"steps": options.steps, "guidance_scale": options.guidance}
    changes = {name: value for name, value in options_given.items() if value is not None}
    count = options.n or min(len(requests), 1000)
    generated = sets.generated(pipeline, options.model, requests, count, seed=options.seed, changes=changes)
    return generated.source, side, {"sampled": {**generated.facts, "prompts": spec, "prompts_split": options.split}}


def _references(options: Arguments, side: int | None) -> tuple[ImageSource | None, FeatureSet | None]:
    """True images that are still to be measured, or their saved statistics."""
    if options.reference is None:
        return None, None
    if sets.is_statistics(options.reference):
        from mimgen.evaluation.generation import load_features

        if options.references is not None:
            raise UserError("--references belongs to images; the saved statistics hold what they hold")
        return None, load_features(options.reference)
    found = sets.images_of(options.reference, options.split, options.pixels, options.references, side)
    return found, None


def _settings(options: Arguments) -> MetricSettings:
    from mimgen.evaluation.generation import MetricSettings

    return MetricSettings(
        kid_subsets=options.kid_subsets,
        kid_subset_size=options.kid_subset_size,
        is_splits=options.is_splits,
        prc_neighborhood=options.prc_neighborhood,
    )


def _show(result: dict[str, Any]) -> None:
    protocol = result["protocol"]
    counts = f"n {protocol['n']}" if "n" in protocol else "no samples"
    if "references_n" in protocol:
        counts += f", {protocol['references_n']} references"
    print(f"{result['model']}  {counts}  features {protocol['extractor']} {protocol['layer']}")
    for name, value in result["scores"].items():
        print(f"  {name:<10} {value:.7g}")
    if "saved_reference" in result:
        print(f"reference statistics written to {result['saved_reference']}")
    for text in result["warnings"]:
        print(f"warning: {text}", file=sys.stderr)


def _write(out: Path, result: dict[str, Any], images: dict[str, ImageSource]) -> None:
    from mimgen.report.page import Gallery, Item
    from mimgen.report.result import write_outcome

    shown = []
    for title, source in images.items():
        count = min(_SHOWN, source.count)
        indices = [position * source.count // count for position in range(count)]
        items = [
            Item({str(position): source.read(position, position + 1)[0].float() / 255}, "")
            for position in indices
        ]
        shown.append(Gallery(f"{title} images", f"{count} of {source.count}: {source.name}", items, 120))
    write_outcome(out, result, shown, title=f"Generated images of {result['model']}",
                  lead="Generated against true images; values compare only under the same protocol.")  # fmt: skip
    print(f"written to {out}")
