"""`mimgen compare mergevq`: one model at every number of kept tokens, and three claims evaluated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from mimgen import configs
from mimgen.cli.options import parse
from mimgen.errors import UserError
from mimgen.recipes.compare.rows import Row, made_once, numbers
from mimgen.recipes.compare.training import Budget, train
from mimgen.report.run_folder import check_same_settings
from mimgen.report.tables import markdown as table
from mimgen.report.tables import mean_range

if TYPE_CHECKING:
    from mimgen.recipes import TrainTokenizer
    from mimgen.tokenizers.mergevq import MergeVQ

__all__ = ["Options", "main"]

# heading, where it is in a row, digits, factor
COLUMNS = (
    ("PSNR dB", ("psnr",), 2, 1),
    ("SSIM", ("ssim",), 3, 1),
    ("rFID", ("rfid",), 2, 1),
    ("PSNR recovered", ("learned", "psnr"), 2, 1),
    ("PSNR square", ("nearest", "psnr"), 2, 1),
    ("in group %", ("learned", "agreement"), 1, 100),
    ("square %", ("nearest", "agreement"), 1, 100),
    ("probe class %", ("probe_class",), 1, 100),
    ("probe tokens %", ("probe_tokens",), 1, 100),
    ("encode img/s", ("encode_images_per_s",), 0, 1),
)


@dataclass(frozen=True)
class Options:
    """Measure MergeVQ at every number of kept tokens; models are trained first, unless given.

    Attributes:
        models: folders of trained MergeVQ runs with commas between, instead of training; without a baseline.
        size: size of the config mergevq.
        variant: of the config mergevq: G, G+R or R; by default the config's own.
        align: what the class token learns: kl or mse to a teacher, ce to labels (the 9 groups of emoji), none;
            auto is kl with a teacher, else none.
        teacher: folder of the encoder that the class token follows.
        data: "emoji" or "photos" (crops of photographs), or your own images.
        images: images seen in training; 0 leaves it to --seconds.
        seconds: most seconds of training for each model; alone it decides the number of steps.
        seeds: with commas between; each trains a model, and a baseline.
        keeps: kept tokens with commas between; by default those of training, and all tokens.
        baseline: also train the same model with a grid of as many cells instead of merged tokens.
        precision: the same for all.
        limit: measure on so many images of each split only, to save time.
        out: the folder; the same command with the same folder resumes where it stopped.
    """

    models: str | None = None
    size: str = "emoji64"
    variant: str | None = None
    align: str = "auto"
    teacher: str | None = None
    data: str = "emoji"
    images: int = 20_000
    seconds: float | None = None
    seeds: str = "0,1,2"
    keeps: str | None = None
    baseline: bool = True
    precision: Literal["auto", "fp32", "bf16"] = "fp32"
    limit: int | None = None
    out: Path = Path("runs/study-mergevq")

    @property
    def budget(self) -> Budget:
        """What each model may spend."""
        return Budget(self.images or None, self.seconds, self.precision)


def main(arguments: list[str]) -> int:
    """Make the rows that are missing, write result.json and result.md; 1 if a row failed."""
    options = parse(Options, arguments, "mimgen compare mergevq")
    seeds = numbers(options.seeds, "seeds")
    free = {"out", "seeds", "images", "seconds", "baseline"}
    shared = {name: value for name, value in asdict(options).items() if name not in free}
    requested = {"study": "mergevq", "budget": options.budget.words(), **shared}
    check_same_settings(options.out, requested, "study")
    rows = options.out / "rows"
    if options.models:
        folders = [name.strip() for name in options.models.split(",") if name.strip()]
        jobs: list[tuple[str, Any, tuple[Any, ...]]] = [
            (f"merging-model{position}", measure_model, (options, folder, position))
            for position, folder in enumerate(folders)
        ]
    else:
        kinds = ("merging", "grid") if options.baseline else ("merging",)
        jobs = [(f"{kind}-seed{seed}", trained, (options, kind, seed)) for seed in seeds for kind in kinds]
    found: dict[str, Row] = {}
    for number, (name, work, wanted) in enumerate(jobs):
        print(f"[{number + 1}/{len(jobs)}] {name}", flush=True)
        found[name] = made_once(rows / f"{name}.json", work, *wanted)
    return _report(options, requested, found)


def trained(options: Options, kind: str, seed: int) -> Row:
    """Train a model, "merging" or on a "grid", or resume, and measure it at each keep count."""
    from mimgen.recipes import load_tokenizer

    folder = options.out / "runs" / f"{kind}-seed{seed}"
    run = _run(options, kind, seed)
    facts = train(run, folder, options.budget)
    tokenizer = _merging(load_tokenizer(folder), str(folder))
    measured = _measured(options, tokenizer, run.data_config.size, kind, seed)
    return {"kind": kind, "seed": seed, **facts, **measured}


def measure_model(options: Options, folder: str, position: int) -> Row:
    """Measure a model that was trained before, at each keep count."""
    from mimgen.recipes import load_tokenizer

    tokenizer = _merging(load_tokenizer(folder), folder)
    pixels = int(tokenizer.config["resolution"])
    return {"kind": "merging", "seed": position, "model": folder, "pixels": pixels,
            **_measured(options, tokenizer, pixels, "merging", position)}  # fmt: skip


def _measured(options: Options, tokenizer: MergeVQ, pixels: int, kind: str, seed: int) -> Row:
    import torch

    from mimgen.recipes.compare.keeping import kept
    from mimgen.recipes.compare.scores import labelled
    from mimgen.tokenizers.grid_merging import on_a_grid

    tokenizer = (on_a_grid(tokenizer) if kind == "grid" else tokenizer).eval()
    tokenizer.to("cuda" if torch.cuda.is_available() else "cpu")
    counts = numbers(options.keeps, "keeps") if options.keeps else [*tokenizer.schedule.counts, tokenizer.tokens]
    data = labelled(options.data, pixels, options.limit)
    facts = {
        "tokens": tokenizer.tokens,
        "trained_keeps": list(tokenizer.schedule.counts),
        "codebook_size": tokenizer.codebook_size,
        "aligned": tokenizer.encoder.dist_head is not None,
        "train_n": len(data.train),
        "val_n": len(data.val),
    }
    return {**facts, "keeps": [kept(tokenizer, data, keep, seed) for keep in sorted(set(counts))]}


def _run(options: Options, kind: str, seed: int) -> TrainTokenizer:
    """The config's run; on a grid with the same initial weights and another reduction."""
    from mimgen.data import training_split
    from mimgen.recipes import TrainTokenizer
    from mimgen.tokenizers.grid_merging import on_a_grid

    chosen = {"variant": options.variant, "align": options.align, "teacher": options.teacher}
    run = configs.experiment("mergevq")(
        size=options.size, data=options.data, seed=seed,
        **{name: value for name, value in chosen.items() if value is not None},
    )  # fmt: skip
    if not isinstance(run, TrainTokenizer):
        raise UserError("the config mergevq trains no tokenizer")
    build = run.build

    def gridded() -> Any:
        objective: Any = build()
        on_a_grid(_merging(objective.tokenizer, "the config mergevq"))
        return objective

    run = replace(run, data_config=replace(run.data_config, split=training_split(options.data) or "train"))
    return replace(run, build=gridded) if kind == "grid" else run


def _merging(tokenizer: Any, source: str) -> MergeVQ:
    from mimgen.tokenizers.mergevq import MergeVQ

    if not isinstance(tokenizer, MergeVQ):
        kind = type(tokenizer).__name__
        raise UserError(f"{source} holds a {kind}, no MergeVQ; train one with `mimgen train mergevq`")
    return tokenizer


def _report(options: Options, requested: Row, found: dict[str, Row]) -> int:
    """Evaluate, write what was found, say where."""
    from mimgen.evaluation import provenance, write_result
    from mimgen.recipes.compare.verdicts import outcomes

    done = [row for row in found.values() if "failed" not in row]
    merging, grid = ([row for row in done if row["kind"] == kind] for kind in ("merging", "grid"))
    paired = {row["seed"] for row in merging} & {row["seed"] for row in grid}
    common = ([row for row in rows if row["seed"] in paired] for rows in (merging, grid))
    outcomes_found = outcomes(merging, []) + outcomes(*common)[-1:] if paired else outcomes(merging, [])
    failed = {name: row["failed"] for name, row in found.items() if "failed" in row}
    write_result(
        options.out / "result.json",
        provenance(
            **requested,
            outcomes=[one.as_dict() for one in outcomes_found],
            failed=failed,
            rows=list(found.values()),
        ),
    )
    parts = [f"# MergeVQ on {requested['data']}: kept tokens", *_about(requested, done)]
    titled = (("Merged tokens", merging), ("Cells of a grid instead", grid))
    parts += [f"## {title}\n\n{_table(rows)}" for title, rows in titled if rows]
    hypotheses = [f"- {one.hypothesis}: **{one.outcome}**. {one.evidence}. Rule: {one.rule}." for one in outcomes_found]
    parts.append("## Claims\n\n" + "\n".join(hypotheses))
    parts += [f"- {name} failed: {reason}" for name, reason in failed.items()]
    text = "\n\n".join(parts) + "\n"
    (options.out / "result.md").write_text(text, encoding="utf-8")
    print(f"\n{text}\nwritten to {options.out / 'result.json'} and result.md")
    return 1 if failed else 0


def _about(requested: Row, done: Sequence[Row]) -> list[str]:
    if not done:
        return ["No row is finished."]
    first, seeds = done[0], len({row["seed"] for row in done})
    trained = ", ".join(map(str, first["trained_keeps"]))
    how = (
        f"models {requested['models']}"
        if requested["models"]
        else f"size {requested['size']}, {requested['budget']} each"
    )
    example = first["keeps"][0]
    aligned = "aligned" if first["aligned"] else "not aligned to anything, so that nothing trains it as a summary"
    return [
        f"{how}; seeds: {seeds}; {first['pixels']} px, {first['tokens']} tokens, trained at {trained}. Images: "
        f"{first['val_n']:,} of val. Probe: linear, label {example['label']}, {first['train_n']:,} images of train. "
        f"The class token is {aligned}. rFID by {example['rfid_extractor']}. In brackets the lowest and highest "
        "of the seeds."
    ]


def _table(rows: Sequence[Row]) -> str:
    keeps = sorted({each["keep"] for row in rows for each in row["keeps"]})
    lines = []
    for keep in keeps:
        mine = [each for row in rows for each in row["keeps"] if each["keep"] == keep]
        lines.append([str(keep), *(mean_range([_at(each, path, factor) for each in mine], digits)
                                   for _, path, digits, factor in COLUMNS)])  # fmt: skip
    return table(["tokens", *(head for head, *_ in COLUMNS)], lines)


def _at(row: Row, path: Sequence[str], factor: float) -> float | None:
    value: Any = row
    for name in path:
        value = None if value is None else cast(Row, value).get(name)
    return None if value is None else float(value) * factor
