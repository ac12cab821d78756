"""What probes read off encoders trained at equal cost, beside raw pixels, HOG and an untrained network."""

from __future__ import annotations

from functools import partial
from typing import Any

from mimgen.bundled import pipeline_folder
from mimgen.configs import parse_integers, parse_words
from mimgen.data import training_split
from mimgen.errors import UserError
from mimgen.probing.frozen import frozen_probes, probe_best_layer
from mimgen.recipes import Build
from mimgen.recipes.compare import (
    Arm,
    Budget,
    Compare,
    ConfigRun,
    ProbeEncoder,
    Results,
    Train,
    named_run,
)  # fmt: skip
from mimgen.report.sections import Column, Section

TRAINED = "train:"  # before the name of a config


def experiment(
    models: str = "pixels,hog,random-vit,train:mae,train:vqgan-fsq,train:meissonic,bundled-tokenizer,bundled",
    data: str = "emoji,digits",
    probes: str = "knn,linear,efficient",
    seeds: str = "0,1,2",
    images: int = 64_000,
    seconds: float | None = None,
    train_data: str = "emoji",
    size: str = "emoji64",
    pixels: int = 64,
    limit: int | None = None,
) -> Compare:
    """Probe several encoders on several data sets with the same probes, images and seeds.

    A seed is that of the probes, of the weights of random-vit and of the training behind train:CONFIG, so that the
    range over seeds is that of the whole. The bundled models were trained for longer than the budget; the codes
    that train:meissonic reads are the bundled tokenizer's, whose training is not counted.

    Command: mimgen compare probes --images 16000

    Cost: about an hour of two cores with 16,000 images and three seeds.

    Args:
        models: encoders as `mimgen probe` takes them, and train:CONFIG, which is trained first, within the budget.
        data: data sets with labels, with commas between; the finest label of each is read.
        probes: as of `mimgen probe`, on frozen features.
        seeds: with commas between; each is a row.
        images: training images of train:mae; any other config gets as many as cost the same operations. 0 leaves it
            to `seconds`.
        seconds: maximum seconds of training for each.
        train_data: what train:CONFIG is trained on.
        size: size of their configs.
        pixels: side of the images, the same for all.
        limit: only so many images of each split, to save time.
    """
    names, chosen = parse_words(data, "data"), frozen_probes(parse_words(probes, "probes"))
    split = training_split(train_data) or "train"
    shared = {"size": size, "data": train_data, "pixels": pixels, "precision": "fp32"}
    budget = Budget(images or None, seconds, reference=ConfigRun("mae", shared, split) if images else None)
    arms = []
    for model in parse_words(models, "models"):
        parts: dict[str, Any] = {}
        spec: str | None = "random-vit:{seed}" if model == "random-vit" else model
        if model.startswith(TRAINED):
            # all of a generator's budget goes to the generator itself; its tokenizer is given
            more = {"tokenizer": str(pipeline_folder() / "vqvae")} if model == f"{TRAINED}meissonic" else {}
            build = named_run(model.removeprefix(TRAINED), {**shared, **more}, split=split)
            if isinstance(build(0), Build):
                raise UserError(f"{model} is computed, not trained; choose a config that is trained, such as train:mae")
            parts["training"], spec = Train(build, budget), None
        for name in names:
            parts[_key(name)] = ProbeEncoder(probe_best_layer, name, pixels, chosen, spec, limit)
        arms.append(Arm(model, parts))
    protocol = {"probes": list(chosen), "budget": str(budget), "train_data": train_data, "size": size,
                "pixels": pixels, "limit": limit}  # fmt: skip
    sections = partial(tables, data=names, probes=chosen)
    title = f"Probes of encoders, {budget} of training each"
    return Compare("probes", title, arms, parse_integers(seeds, "seeds"), protocol, sections)


def tables(results: Results, data: list[str], probes: tuple[str, ...]) -> list[Section]:
    """A table for each data set; the most frequent class is the last line."""
    sections = []
    for name in data:
        key = _key(name)
        columns = [Column(f"{probe} %", f"{key}.accuracy.{probe}", 1, 100) for probe in probes]
        columns += [Column("layer", f"{key}.layer", 0), Column("features", f"{key}.features", 0),
                    Column("parameters", f"{key}.encoder.parameters", 0),
                    Column("training images", "training.images", 0)]  # fmt: skip
        lines = {arm: [row for row in rows if key in row] for arm, rows in results.items()}
        one = next((row[key] for rows in lines.values() for row in rows), None)
        text = ""
        if one is not None:
            lines["most frequent class"] = [{key: {"accuracy": dict.fromkeys(probes, one["majority"])}}]
            text = (
                f'Label "{one["label"]}", {one["classes"]} classes in train, {one["n"]:,} images of train, '
                f'{one["test_n"]:,} of val at {one["pixels"]} px. Vector probes read the mean over patches (pixels and '
                "hog: the whole image as one vector), attentive ones all patches; the layer is the one with the best "
                "linear probe on held-out images of train."
            )
        sections.append(Section(name, columns, lines, text, "encoder"))
    return sections


def _key(data: str) -> str:
    """The name of a data set as that of a part."""
    return "".join(letter if letter.isalnum() or letter == "-" else "_" for letter in data).strip("_")
