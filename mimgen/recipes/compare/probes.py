"""`mimgen compare probes`: what can be read off pixels, gradients, chance, and encoders trained at equal cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from inspect import signature
from pathlib import Path
from typing import Any

from mimgen import configs
from mimgen.cli.options import parse
from mimgen.errors import UserError
from mimgen.probing.probes import check_probes, probes_that_read
from mimgen.recipes.compare.probes_row import TRAINED, ProbeRequest, row
from mimgen.recipes.compare.rows import Row, made_once, numbers
from mimgen.recipes.compare.tokenizers import entry
from mimgen.recipes.compare.training import Budget, train
from mimgen.recipes.flops import operations
from mimgen.report.run_folder import check_same_settings
from mimgen.report.tables import markdown as table
from mimgen.report.tables import mean_range

__all__ = ["Options", "main"]


@dataclass(frozen=True)
class Options:
    """Probe several encoders on several data sets with the same probes, images and seeds.

    A seed is that of the probes, of the weights of random-vit and of the training behind train:CONFIG, so
    that the spread over seeds is that of the whole.

    Attributes:
        models: encoders as `mimgen probe` takes them, and train:CONFIG, which is trained first, within the budget.
        data: data sets with labels, with commas between; the finest label of each is read.
        probes: as of `mimgen probe`.
        seeds: with commas between; each is a row.
        images: images that train:mae may see; any other config as many as cost the same operations.
        seconds: most seconds of training for each.
        train_data: what train:CONFIG is trained on.
        size: size of their configs.
        pixels: side of the images, the same for all.
        limit: only so many images of each split, to save time.
        out: the folder; the same command with the same folder resumes where it stopped.
    """

    models: str = "pixels,hog,random-vit,train:mae,train:vqgan-fsq,train:meissonic,bundled-tokenizer,bundled"
    data: str = "emoji,digits"
    probes: str = "knn,linear,efficient"
    seeds: str = "0,1,2"
    images: int = 64_000
    seconds: float | None = None
    train_data: str = "emoji"
    size: str = "emoji64"
    pixels: int = 64
    limit: int | None = None
    out: Path = Path("runs/study-probes")


def main(arguments: list[str]) -> int:
    """Make the rows that are missing, write result.json, result.html and result.md; 1 if a row failed."""
    options = parse(Options, arguments, "mimgen compare probes")
    models, data = _words(options.models, "models"), _words(options.data, "data")
    probes, seeds = check_probes(_words(options.probes, "probes")), numbers(options.seeds, "seeds")
    if set(probes) - set(probes_that_read("vectors", "tokens")):
        raise UserError("this study reads frozen features: leave fine-tune and segmentation out of --probes")
    for model in models:
        if model.startswith(TRAINED):
            _checked(model)
    budget = Budget(options.images or None, options.seconds).words()
    budget = f"operations of MAE for {budget}" if options.images else budget
    requested = {"study": "probes", "probes": list(probes), "budget": budget, "train_data": options.train_data,
             "size": options.size, "pixels": options.pixels, "limit": options.limit}  # fmt: skip
    check_same_settings(options.out, requested, "study")
    rows, positions = [], [(model, name, seed) for model in models for seed in seeds for name in data]
    for number, (model, name, seed) in enumerate(positions):
        print(f"[{number + 1}/{len(positions)}] {model} on {name}, seed {seed}", flush=True)
        path = options.out / "rows" / f"{_file(model)}-{_file(name)}-seed{seed}.json"
        rows.append({"model": model, "data": name, "seed": seed, **made_once(path, _row, options, model, name, seed)})
    return _report(options, requested, rows)


def _row(options: Options, model: str, data: str, seed: int) -> Row:
    """Train where that is asked for, then probe. Runs in a process of its own."""
    trained: Row = {}
    spec = f"random-vit:{seed}" if model == "random-vit" else model
    if model.startswith(TRAINED):
        folder = options.out / "runs" / f"{_file(model)}-seed{seed}"
        trained = _trained(options, model, seed, folder)
        spec = str(folder)
    probes = check_probes(_words(options.probes, "probes"))
    requested = ProbeRequest(spec, data, options.pixels, probes, seed, options.limit, options.out / "features")
    return {"training": trained or None, **row(requested)}


def _trained(options: Options, model: str, seed: int, folder: Path) -> Row:
    """Train a config in `folder`, or resume; at once where it is done, for the next data set."""
    import json

    from mimgen.data import training_split
    from mimgen.evaluation import write_result

    done = folder / "trained.json"
    if done.is_file():
        found: Row = json.loads(done.read_text(encoding="utf-8"))
        return found
    run = _run(options, model, seed)
    # held-out images stay out of training
    run = replace(run, data_config=replace(run.data_config, split=training_split(options.train_data) or "train"))
    facts = train(run, folder, Budget(_affordable(options, run, seed), options.seconds))
    write_result(done, facts)
    return facts


def _affordable(options: Options, run: Any, seed: int) -> int | None:
    """Images that the run may see for the operations that MAE needs for the budget's."""
    if not options.images:
        return None
    share = operations(_run(options, f"{TRAINED}mae", seed)) / operations(run)
    return max(run.settings.batch_size, int(options.images * share))


def _run(options: Options, model: str, seed: int) -> Any:
    from mimgen.bundled import pipeline_folder

    chosen = entry_of(model)
    function = configs.experiment(chosen.config)
    wanted: dict[str, Any] = {
        "size": options.size, "data": options.train_data, "seed": seed, "pixels": options.pixels,
        "precision": "fp32", **dict(chosen.arguments),
    }  # fmt: skip
    if chosen.config == "meissonic":
        # all of its budget goes to the generator; the tokenizer is given
        wanted["tokenizer"] = str(pipeline_folder() / "vqvae")
    return function(**{key: value for key, value in wanted.items() if key in signature(function).parameters})


def entry_of(model: str) -> Any:
    """Config and arguments behind "train:CONFIG" or "train:CONFIG-VARIANT"."""
    from mimgen.recipes.compare.tokenizers import Entry

    name = model.removeprefix(TRAINED)
    known = configs.names()
    if name in known and ".tokenizer." not in known[name]:
        return Entry(name, name)
    return entry(name)


def _checked(model: str) -> None:
    """A `UserError` before anything is trained, where a config does not exist or is not trained."""
    from mimgen.recipes import Build

    function = configs.experiment(entry_of(model).config)
    if signature(function).return_annotation in (Build, "Build"):
        raise UserError(f"{model} is computed, not trained; choose a config that is trained, such as train:mae")


def _report(options: Options, requested: Row, rows: list[Row]) -> int:
    """Write what was found; say where."""
    from mimgen.report.page import Scores
    from mimgen.report.result import write_outcome

    done = [one for one in rows if "failed" not in one]
    data = list(dict.fromkeys(one["data"] for one in rows))
    parts, sections, scores = [f"# Probes, {requested['budget']} of training each"], [], {}
    for name in data:
        heads, lines = _table([one for one in done if one["data"] == name], requested["probes"])
        title = f"{name}: {_about([one for one in done if one['data'] == name])}"
        parts += [f"## {title}", table(heads, lines) if lines else "No row is finished."]
        sections.append(Scores(title, "Accuracy: mean (lowest to highest over seeds).", heads, lines, ours=-1))
        scores[name] = _scores([one for one in done if one["data"] == name], requested["probes"])
    failed = [
        f"- {one['model']} on {one['data']}, seed {one['seed']} failed: {one['failed']}"
        for one in rows
        if "failed" in one
    ]
    text = "\n\n".join([*parts, *_notes(done), *failed]) + "\n"
    options.out.joinpath("result.md").write_text(text, encoding="utf-8")
    result = {"measure": "study of probes", "model": options.models, "protocol": {**requested, "data": data},
              "scores": scores, "rows": rows}  # fmt: skip
    write_outcome(options.out / "result.json", result, sections, title="What can be read off each encoder")
    print(f"\n{text}\nwritten to {options.out / 'result.json'}, result.html and result.md")
    return 0 if len(done) == len(rows) else 1


def _table(rows: list[Row], probes: Sequence[str]) -> tuple[list[str], list[list[str]]]:
    heads = ["encoder", *(f"{probe} %" for probe in probes), "layer", "features", "parameters", "trained on images"]
    lines = []
    for model in dict.fromkeys(one["model"] for one in rows):
        mine = [one for one in rows if one["model"] == model]
        cells = [mean_range([100 * one["accuracy"][probe] for one in mine], 1) for probe in probes]
        training = mine[0]["training"] or {}
        layers = ", ".join(sorted({str(one["layer"]) for one in mine}))
        facts = [layers, f"{mine[0]['features']:,}", f"{mine[0]['encoder']['parameters']:,}"]
        seen = mean_range([one["training"]["images"] for one in mine], 0) if training else "-"
        lines.append([model, *cells, *facts, seen])
    return heads, lines


def _scores(rows: list[Row], probes: Sequence[str]) -> Row:
    from mimgen.probing.intervals import over_seeds

    found: Row = {}
    for model in dict.fromkeys(one["model"] for one in rows):
        values = {probe: [one["accuracy"][probe] for one in rows if one["model"] == model] for probe in probes}
        found[model] = {
            probe: over_seeds(each).as_dict() if len(each) > 1 else each[0] for probe, each in values.items()
        }
    return found


def _about(rows: list[Row]) -> str:
    if not rows:
        return "no row is finished"
    one = rows[0]
    return (
        f'label "{one["label"]}", {one["classes"]} classes in train, {one["n"]:,} images of train, {one["test_n"]:,} '
        f"of val at {one['pixels']} px; most frequent class {100 * one['majority']:.1f} %"
    )


def _notes(done: list[Row]) -> list[str]:
    if not done:
        return []
    machine = done[0]["made_by"]["machine"]
    return [
        "- Vector probes read the mean over patches (pixels and hog: the whole image as one vector), attentive ones "
        "all patches; the layer is the one with the best linear probe on held-out images of train.\n"
        "- bundled and bundled-tokenizer come with this package and were trained for longer than the budget; "
        "train:meissonic reads the codes of bundled-tokenizer, whose training is not counted.\n"
        f"- Measured on {machine['cpu']}, threads: {machine['threads']}, GPUs: {', '.join(machine['gpus']) or 'none'}."
    ]


def _words(text: str, flag: str) -> list[str]:
    words = list(dict.fromkeys(word.strip() for word in text.split(",") if word.strip()))
    if not words:
        raise UserError(f"--{flag} is empty; give names with commas between")
    return words


def _file(word: str) -> str:
    """A name that can be one of a file."""
    return "".join(letter if letter.isalnum() or letter in "-." else "_" for letter in word).strip("._")
