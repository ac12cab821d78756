"""`mimgen compare tokenizers`: tokenizers trained with one budget, and what came of each."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from inspect import signature
from pathlib import Path
from typing import Any, Literal, get_args, get_type_hints

from mimgen import configs
from mimgen.cli.options import parse
from mimgen.errors import UserError, choose
from mimgen.recipes.compare.rows import Row, made_once, numbers
from mimgen.recipes.compare.training import Budget, train
from mimgen.report.run_folder import check_same_settings
from mimgen.report.tables import markdown as table
from mimgen.report.tables import mean_range

__all__ = ["Entry", "Options", "entry", "main"]

# The argument that the second half of a name such as "vqgan-fsq" chooses: the first that the config has.
CHOOSING = ("variant", "quantizer")

# heading, key of the row, digits, factor
COLUMNS = (
    ("tokens", "tokens", 0, 1),
    ("codes", "codebook_size", 0, 1),
    ("bits", "bits", 0, 1),
    ("PSNR dB", "psnr", 2, 1),
    ("SSIM", "ssim", 3, 1),
    ("rFID", "rfid", 2, 1),
    ("usage %", "usage", 1, 100),
    ("perplexity", "perplexity", 0, 1),
    ("probe %", "probe_grid", 1, 100),
    ("encode img/s", "encode_images_per_s", 0, 1),
    ("decode img/s", "decode_images_per_s", 0, 1),
    ("training s", "seconds", 0, 1),
    ("images seen", "images", 0, 1),
    ("parameters", "parameters", 0, 1),
)


@dataclass(frozen=True)
class Options:
    """Train each tokenizer with the same budget and measure it on the images of `val`.

    Attributes:
        configs: names with commas between: a config (titok), or one with its variant (vqgan-fsq, vqgan-vq).
        size: size of every config.
        data: "emoji" or "photos" (crops of photographs), or your own images.
        images: images that each may see in training; 0 leaves it to --seconds.
        seconds: most seconds of training for each; alone it decides the number of steps.
        seeds: of weights and data order, with commas between; each is a row.
        precision: the same for all.
        limit: measure on so many images of each split only, to save time.
        out: the folder; the same command with the same folder resumes where it stopped.
    """

    configs: str = "vqgan-fsq,vqgan-vq,vqgan-lfq"
    size: str = "emoji64"
    data: str = "emoji"
    images: int = 20_000
    seconds: float | None = None
    seeds: str = "0"
    precision: Literal["auto", "fp32", "bf16"] = "fp32"
    limit: int | None = None
    out: Path = Path("runs/study-tokenizers")

    @property
    def budget(self) -> Budget:
        """What each may spend."""
        return Budget(self.images or None, self.seconds, self.precision)


@dataclass(frozen=True)
class Entry:
    """One tokenizer of the study.

    Attributes:
        name: as asked for, of its rows and folders.
        config: name of the config.
        arguments: what is passed to its `experiment` besides size, data and seed.
    """

    name: str
    config: str
    arguments: tuple[tuple[str, Any], ...] = ()


def main(arguments: list[str]) -> int:
    """Make the rows that are missing, write result.json and result.md; 1 if a row failed."""
    options = parse(Options, arguments, "mimgen compare tokenizers")
    seeds = numbers(options.seeds, "seeds")
    entries = [entry(name.strip()) for name in options.configs.split(",") if name.strip()]
    if not entries:
        raise UserError("--configs is empty; give names such as vqgan-fsq,vqgan-vq")
    requested = {"study": "tokenizers", "size": options.size, "data": options.data, "limit": options.limit,
             "budget": options.budget.words(), "precision": options.precision}  # fmt: skip
    check_same_settings(options.out, requested, "study")
    rows = []
    for number, (chosen, seed) in enumerate((one, seed) for one in entries for seed in seeds):
        print(f"[{number + 1}/{len(entries) * len(seeds)}] {chosen.name}, seed {seed}", flush=True)
        made = made_once(options.out / "rows" / f"{chosen.name}-seed{seed}.json", row, chosen, options, seed)
        rows.append({"name": chosen.name, "seed": seed, **made})
    return _report(options, requested, rows)


def entry(name: str) -> Entry:
    """The entry meant by "CONFIG" or "CONFIG-VARIANT".

    Raises:
        UserError: no such config or variant; the message lists them.
    """
    config, _, value = name.partition("-")
    function = configs.experiment(config)
    if ".tokenizer." not in configs.names()[config]:
        raise UserError(f"{config} trains no tokenizer; `mimgen train` lists the configs that do")
    if not value:
        return Entry(name, config)
    argument = next((name for name in CHOOSING if name in signature(function).parameters), None)
    if argument is None:
        raise UserError(f"{name!r}: the config {config} has no variants; write {config!r} alone")
    known = get_args(get_type_hints(function)[argument])
    return Entry(name, config, ((argument, choose(value, known, f"{argument} of {config}") if known else value),))


def row(chosen: Entry, options: Options, seed: int) -> Row:
    """Train one tokenizer, or resume, and measure it."""
    import torch

    from mimgen.data import training_split
    from mimgen.recipes import Build, TrainTokenizer, load_image_quantizer
    from mimgen.recipes.compare.scores import labelled, score

    folder = options.out / "runs" / f"{chosen.name}-seed{seed}"
    function = configs.experiment(chosen.config)
    wanted: dict[str, Any] = {"size": options.size, "data": options.data, "seed": seed, **dict(chosen.arguments)}
    run = function(**{key: value for key, value in wanted.items() if key in signature(function).parameters})
    if not isinstance(run, TrainTokenizer | Build):
        raise UserError(f"{chosen.config} is not a tokenizer's config")
    # held-out images stay out of training: one's own data are split as well
    run = replace(run, data_config=replace(run.data_config, split=training_split(options.data) or "train"))
    trained = _built(run, folder) if isinstance(run, Build) else train(run, folder, options.budget)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    tokenizer: Any = load_image_quantizer(folder)
    data = labelled(options.data, run.data_config.size, options.limit)
    facts = {"config": chosen.config, "arguments": dict(chosen.arguments), "size": options.size,
             "val_n": len(data.val), "train_n": len(data.train)}  # fmt: skip
    return {**facts, **trained, **score(tokenizer.to(device), data, seed)}


def _built(run: Any, folder: Path) -> Row:
    """Compute a tokenizer that needs no training; its time counts all the same."""
    facts = run.run(folder).losses
    return {"built": True, "pixels": run.data_config.size, **(facts[0] if facts else {})}


def baseline(options: Options, pixels: int) -> Row:
    """What a probe reads off raw pixels, and how often the most frequent label is right."""
    from mimgen.probing import linear_probe, raw_pixels
    from mimgen.recipes.compare.scores import labelled

    data = labelled(options.data, pixels, options.limit)
    if data.label is None:
        return {"label": None}
    result = linear_probe(raw_pixels(data.train), data.train_y, raw_pixels(data.val), data.val_y, seed=0)
    return {"label": data.label, "classes": result.classes, "raw_pixels": result.accuracy, "majority": result.majority,
            "train_n": result.n, "val_n": result.test_n}  # fmt: skip


def _report(options: Options, requested: Row, rows: list[Row]) -> int:
    """Write what was found; say where."""
    from mimgen.evaluation import provenance, write_result

    done = [one for one in rows if "failed" not in one]
    sizes = sorted({one["pixels"] for one in done})
    folder = options.out / "rows"
    bases = {str(side): made_once(folder / f"baseline-{side}.json", baseline, options, side) for side in sizes}
    write_result(options.out / "result.json", provenance(**requested, baselines=bases, rows=rows))
    text = _markdown(requested, bases, rows)
    (options.out / "result.md").write_text(text, encoding="utf-8")
    print(f"\n{text}\nwritten to {options.out / 'result.json'} and result.md")
    return 0 if len(done) == len(rows) else 1


def _markdown(requested: Row, bases: dict[str, Row], rows: list[Row]) -> str:
    done = [one for one in rows if "failed" not in one]
    names = list(dict.fromkeys(one["name"] for one in done))
    lines = []
    for name in names:
        mine = [one for one in done if one["name"] == name]
        pick = partial(_values, mine)
        lines.append([name, *(mean_range(pick(key, factor), digits) for _, key, digits, factor in COLUMNS)])
    parts = [
        f"# Tokenizers on {requested['data']}, {requested['budget']} each",
        table(["tokenizer", *(head for head, *_ in COLUMNS)], lines) if lines else "No row is finished.",
        *_notes(bases, done),
        *(f"- {one['name']}, seed {one['seed']} failed: {one['failed']}" for one in rows if "failed" in one),
    ]
    return "\n\n".join(parts) + "\n"


def _values(rows: list[Row], key: str, factor: float) -> list[float | None]:
    found = [one.get(key) for one in rows]
    # what does not depend on the seed is said once
    found = found[:1] if len(set(found)) == 1 else found
    return [None if value is None else value * factor for value in found]


def _notes(bases: dict[str, Row], done: list[Row]) -> list[str]:
    """What is needed to read the table."""
    notes = []
    for side, base in bases.items():
        if base.get("label"):
            notes.append(
                f"- Probe at {side} px: linear, {base['classes']} classes of \"{base['label']}\", features over a "
                f"4 x 4 grid, {base['train_n']:,} images of train, {base['val_n']:,} of val; "
                f"raw pixels {100 * base['raw_pixels']:.1f} %, most frequent class {100 * base['majority']:.1f} %."
            )
    extractors = sorted({one["rfid_extractor"] for one in done if one.get("rfid_extractor")})
    if extractors:
        notes.append(f"- rFID by {', '.join(extractors)}: comparable within this table only.")
    merged = sorted({one["name"] for one in done if one.get("merged")})
    if merged:
        notes.append(f"- Bits of {', '.join(merged)} are those of the codes, without the positions of merged tokens.")
    early = [f"{one['name']} (seed {one['seed']})" for one in done if one.get("stopped_by_clock")]
    if early:
        notes.append(f"- Ended by the clock before the planned steps: {', '.join(early)}.")
    if done:
        machine = done[0]["made_by"]["machine"]
        gpus = ", ".join(machine["gpus"]) or "none"
        notes.append(f"- Measured on {machine['cpu']}, threads: {machine['threads']}, GPUs: {gpus}.")
    return ["\n".join(notes)] if notes else []
