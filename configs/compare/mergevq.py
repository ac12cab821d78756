"""One MergeVQ at every number of kept tokens, against a grid of as many cells."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch

from mimgen.configs import parse_integers, parse_words
from mimgen.data import training_split
from mimgen.errors import UserError
from mimgen.evaluation.kept_tokens import score_kept_tokens
from mimgen.evaluation.tokenizer_scores import open_labelled
from mimgen.ops.ranks import rank_correlation
from mimgen.recipes import Run, load_tokenizer
from mimgen.recipes.compare import (
    Arm,
    Budget,
    Compare,
    ConfigRun,
    Hypothesis,
    Results,
    Row,
    Train,
)
from mimgen.report.sections import Column, Section
from mimgen.tokenizers.grid_merging import on_a_grid
from mimgen.tokenizers.mergevq import MergeVQ

FALLING = -0.5  # rank correlation of accuracy with the number of tokens that counts as falling
COST = 1.2  # squared error with recovered positions against that with the true ones

COLUMNS = (
    Column("PSNR dB", "psnr"),
    Column("SSIM", "ssim", 3),
    Column("rFID", "rfid"),
    Column("PSNR, positions recovered", "learned.psnr"),
    Column("PSNR, laid out in a square", "nearest.psnr"),
    Column("recovered to own group %", "learned.agreement", 1, 100),
    Column("square in own group %", "nearest.agreement", 1, 100),
    Column("probe class token %", "probe_class", 1, 100),
    Column("probe mean of tokens %", "probe_tokens", 1, 100),
    Column("encode images/s", "encode_images_per_s", 0),
)


def experiment(
    models: str | None = None,
    size: str = "emoji64",
    variant: str | None = None,
    align: str = "auto",
    teacher: str | None = None,
    data: str = "emoji",
    images: int = 20_000,
    seconds: float | None = None,
    seeds: str = "0,1,2",
    keeps: str | None = None,
    baseline: bool = True,
    precision: Literal["auto", "fp32", "bf16"] = "fp32",
    limit: int | None = None,
) -> Compare:
    """Measure MergeVQ at every number of kept tokens; models are trained first, unless given.

    Command: mimgen compare mergevq --align ce --images 9600

    Cost: about half an hour of two cores with 9,600 images, three seeds and the baseline.

    Args:
        models: folders of trained MergeVQ runs with commas between, instead of training; without a baseline. They
            take the place of seeds.
        size: size of the config mergevq.
        variant: of the config mergevq: G, G+R or R; by default the config's own.
        align: what the class token learns: kl or mse to a teacher, ce to labels (the 9 groups of emoji), none;
            auto is kl with a teacher, else none.
        teacher: folder of the encoder that the class token follows.
        data: "emoji" or "photos" (crops of photographs), or your own images.
        images: training images; 0 leaves it to `seconds`.
        seconds: maximum seconds of training for each model; alone it decides the number of steps.
        seeds: with commas between; each trains a model, and a baseline.
        keeps: kept tokens with commas between; by default those of training, and all tokens.
        baseline: also train the same model with a grid of as many cells instead of merged tokens.
        precision: the same for all.
        limit: measure on so many images of each split only, to save time.
    """
    chosen = {"variant": variant, "align": align, "teacher": teacher}
    arguments = {"size": size, "data": data, **{name: value for name, value in chosen.items() if value is not None}}
    split, budget = training_split(data) or "train", Budget(images or None, seconds, precision)
    counts = parse_integers(keeps, "keeps") if keeps else None
    measure = partial(kept_tokens, data=data, keeps=counts, limit=limit)
    if models is not None:
        folders = parse_words(models, "models")
        arms = [Arm("merging", {"kept": partial(measure, grid=False, models=folders)})]
        numbers = list(range(len(folders)))
    else:
        merging, grid = (kind("mergevq", arguments, split) for kind in (ConfigRun, GridRun))
        arms = [Arm("merging", {"training": Train(merging, budget), "kept": partial(measure, grid=False)})]
        if baseline:
            arms.append(Arm("grid", {"training": Train(grid, budget), "kept": partial(measure, grid=True)}))
        numbers = parse_integers(seeds, "seeds")
    protocol = {"models": models, "size": size, **chosen, "data": data, "keeps": keeps, "limit": limit,
                "budget": str(budget), "precision": precision}  # fmt: skip
    return Compare("mergevq", f"MergeVQ on {data}: kept tokens", arms, numbers, protocol, tables, HYPOTHESES)


@dataclass(frozen=True)
class GridRun(ConfigRun):
    """The run with the same initial weights, in which a grid of cells takes the place of merging."""

    def __call__(self, seed: int, steps: int | None = None) -> Run:
        """The run; see `RunBuilder`."""
        run: Any = super().__call__(seed, steps)

        def build() -> Any:
            objective: Any = run.build()
            on_a_grid(objective.tokenizer)
            return objective

        return replace(run, build=build)


def kept_tokens(
    folder: Path, seed: int, rows: Mapping[str, Row], *,
    data: str, keeps: list[int] | None, limit: int | None, grid: bool, models: list[str] | None = None,
) -> Row:  # fmt: skip
    """Scores of the trained model, or of the given one, at each number of kept tokens."""
    source = folder if models is None else Path(models[seed])
    model: Any = load_tokenizer(source)
    if not isinstance(model, MergeVQ):
        kind = type(model).__name__
        raise UserError(f"{source} holds a {kind}, no MergeVQ; train one with `mimgen train mergevq`")
    model = (on_a_grid(model) if grid else model).eval()
    model.to("cuda" if torch.cuda.is_available() else "cpu")
    labelled = open_labelled(data, rows["training"]["pixels"] if rows else int(model.config["resolution"]), limit)
    counts = keeps or [*model.schedule.counts, model.tokens]
    return {
        "tokens": model.tokens,
        "trained_keeps": list(model.schedule.counts),
        "codebook_size": model.codebook_size,
        "aligned": model.encoder.dist_head is not None,
        "train_n": len(labelled.train),
        "val_n": len(labelled.val),
        "keeps": [score_kept_tokens(model, labelled, keep, seed) for keep in sorted(set(counts))],
    }


def tables(results: Results) -> list[Section]:
    """A table for each arm with a line for each number of kept tokens."""
    sections = []
    for arm, rows in results.items():
        lines: dict[str, list[Row]] = {}
        for each in (each for row in rows if "kept" in row for each in row["kept"]["keeps"]):
            lines.setdefault(str(each["keep"]), []).append(each)
        text = next((_about(row["kept"]) for row in rows if "kept" in row), "")
        title = "Merged tokens" if arm == "merging" else "Cells of a grid instead"
        ascending = dict(sorted(lines.items(), key=lambda line: int(line[0])))
        sections.append(Section(title, COLUMNS, ascending, text, "tokens"))
    return sections


def _about(row: Row) -> str:
    first, counts = row["keeps"][0], ", ".join(map(str, row["trained_keeps"]))
    aligned = "" if row["aligned"] else " The class token is aligned to nothing, so nothing trains it as a summary."
    return (
        f"{row['tokens']} tokens, trained at {counts}; {row['val_n']:,} images of val. Probe: linear, label "
        f"{first['label']}, {row['train_n']:,} images of train.{aligned} rFID by {first['rfid_extractor']}."
    )


def _curve(row: Row, key: str) -> list[tuple[int, float]]:
    """(kept tokens, value), ascending, where there is a value."""
    keeps = row["kept"]["keeps"] if "kept" in row else []
    return sorted((each["keep"], each[key]) for each in keeps if each[key] is not None)


def fewer_is_better(rows: Mapping[str, Row], key: str) -> dict[str, float]:
    """Accuracy with the fewest tokens minus that with all, and how clearly it falls with the number of tokens."""
    curve = _curve(rows.get("merging", {}), key)
    if len(curve) < 2:
        return {}
    return {"fewest tokens - all": curve[0][1] - curve[-1][1],
            f"{FALLING} - rank correlation": FALLING - rank_correlation(curve)}  # fmt: skip


def more_is_better(rows: Mapping[str, Row]) -> dict[str, float]:
    """The smallest gain in PSNR from one number of tokens to the next."""
    curve = _curve(rows.get("merging", {}), "psnr")
    steps = [b - a for (_, a), (_, b) in itertools.pairwise(curve)]
    return {"smallest step, dB": min(steps)} if steps else {}


def recovery_restores(rows: Mapping[str, Row]) -> dict[str, float]:
    """What learned recovery gains over codes laid out in a square, at the worst number of tokens."""
    pairs = [(each["learned"], each["nearest"]) for each in _merged(rows)]
    names = (("psnr", "PSNR - that of a square, dB"), ("agreement", "share in own group - that of a square"))
    return {name: min(ours[key] - square[key] for ours, square in pairs) for key, name in names} if pairs else {}


def recovery_is_free(rows: Mapping[str, Row]) -> dict[str, float]:
    """How far the squared error with recovered positions stays below `COST` times that with the true ones."""
    losses = [each["psnr"] - each["learned"]["psnr"] for each in _merged(rows)]
    allowed = 10 * math.log10(COST)  # a ratio of squared errors is a difference in dB
    return {f"{allowed:.2f} dB - largest loss, dB": allowed - max(losses)} if losses else {}


def merging_beats_grid(rows: Mapping[str, Row]) -> dict[str, float]:
    """The smallest gain in PSNR over a grid of as many cells, below all tokens."""
    grid = dict(_curve(rows.get("grid", {}), "psnr"))
    gains = [value - grid[keep] for keep, value in _curve(rows.get("merging", {}), "psnr")[:-1] if keep in grid]
    return {"smallest PSNR gain, dB": min(gains)} if gains else {}


def _merged(rows: Mapping[str, Row]) -> list[Row]:
    row = rows.get("merging", {})
    return [each for each in (row["kept"]["keeps"] if "kept" in row else []) if each["learned"]]


HYPOTHESES = (
    Hypothesis("fewer tokens, better probe (class token)", partial(fewer_is_better, key="probe_class")),
    Hypothesis("fewer tokens, better probe (mean of the kept tokens)", partial(fewer_is_better, key="probe_tokens")),
    Hypothesis("more tokens, better images", more_is_better),
    Hypothesis("learned source recovery restores detail", recovery_restores),
    Hypothesis(f"recovered positions cost less than {COST} times the squared error", recovery_is_free),
    Hypothesis("merged tokens keep more of an image than a grid of as many", merging_beats_grid),
)
