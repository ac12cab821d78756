"""`mimgen compare scaling`: data x model x length, and whether the validation loss tells what transfers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any

from mimgen.cli.options import parse
from mimgen.errors import UserError
from mimgen.recipes.compare.rows import Row, made_once, numbers
from mimgen.recipes.compare.scaling_rows import Cell, Method, Protocol, cell_row
from mimgen.recipes.compare.scaling_verdicts import check_hypotheses, correlations, mean_over_seeds, order
from mimgen.report.curves import Curve
from mimgen.report.run_folder import check_same_settings
from mimgen.report.tables import markdown as table
from mimgen.report.tables import mean_range

__all__ = ["Options", "cells", "main"]

# heading, key of the row, digits, factor
COLUMNS = (
    ("training loss", "train_loss", 4, 1),
    ("validation loss", "val_loss", 4, 1),
    ("probe %", "probe", 1, 100),
    ("fine-tuned %", "finetune", 1, 100),
    ("seconds", "seconds", 0, 1),
)

CELL = ("images", "width", "steps", "seed")


@dataclass(frozen=True)
class Options:
    """Pretrain a grid of cells by masked image modelling and compare losses with accuracies (arXiv 2206.04664).

    All cells are compared at equal steps. Subsets are nested; validation images occur in none of them. Losses are
    measured with fixed masks and without augmentation, on training images too.

    Attributes:
        method: simmim (as in the paper, with a plain transformer) or mae.
        data: "emoji" or another built-in set, or your own images, which are split.
        subsets: images to pretrain on, with commas between; 0 for all.
        widths: of the encoder, multiples of 16, with commas between.
        steps: lengths of training, with commas between.
        seeds: of weights and data order, with commas between.
        pixels: side of the images.
        patch: side of a patch in pixels.
        unit: side in patches of what is masked together.
        ratio: share that is masked.
        depth: blocks of every encoder.
        batch: images per step.
        base_lr: learning rate for 256 images.
        limit: validation images.
        labelled: labelled images for probe and fine-tuning.
        epochs: of fine-tuning; 0 leaves it out.
        out: the folder; the same command with the same folder resumes where it stopped.
    """

    method: Method = "simmim"
    data: str = "emoji"
    subsets: str = "100,600,0"
    widths: str = "32,64,128"
    steps: str = "200,800"
    seeds: str = "0,1,2"
    pixels: int = 32
    patch: int = 4
    unit: int = 2
    ratio: float = 0.6
    depth: int = 4
    batch: int = 32
    base_lr: float = 8e-3
    limit: int = 400
    labelled: int = 1000
    epochs: int = 10
    out: Path = Path("runs/study-scaling")

    @property
    def protocol(self) -> Protocol:
        """What all cells share."""
        names = [name for name in Protocol.__dataclass_fields__ if name != "masks"]
        return Protocol(**{name: getattr(self, name) for name in names})


def main(arguments: list[str]) -> int:
    """Make the rows that are missing, write result.json, result.html and result.md; 1 if a row failed."""
    options = parse(Options, arguments, "mimgen compare scaling")
    wanted, protocol = cells(options), options.protocol
    requested = {"study": "scaling", **asdict(protocol)}
    check_same_settings(options.out, requested, "study")
    rows = []
    for number, cell in enumerate(wanted):
        print(f"[{number + 1}/{len(wanted)}] {cell.name}", flush=True)
        path = options.out / "rows" / f"{cell.name}.json"
        rows.append({**asdict(cell), **made_once(path, cell_row, protocol, cell, options.out / "runs" / cell.name)})
    return _report(options, rows)


def cells(options: Options) -> list[Cell]:
    """The grid, cheap cells first, so that an interrupted study has something to show.

    Raises:
        UserError: a list that cannot be read, or a width that does not divide into heads.
    """
    lists = [numbers(getattr(options, name), name) for name in ("subsets", "widths", "steps", "seeds")]
    bad = [width for width in lists[1] if width % 16 or not width]
    if bad or not all(lists[2]):
        raise UserError(f"--widths {options.widths} --steps {options.steps}: give multiples of 16, and steps above 0")
    grid = [Cell(*numbers_of) for numbers_of in product(*lists)]
    return sorted(grid, key=lambda cell: (cell.seed, cell.steps, cell.width, order(cell.images)))


def _report(options: Options, rows: list[Row]) -> int:
    """Write what was found; say where."""
    from mimgen.report.result import write_outcome

    done = [row for row in rows if "failed" not in row]
    found = check_hypotheses(done) if done else []
    result = {
        "measure": "data scaling of masked image modelling",
        "model": f"{options.method}, {options.depth} blocks",
        "protocol": {**asdict(options.protocol), "subsets": options.subsets, "widths": options.widths,
                     "steps": options.steps},
        "scores": _scores(done),
        "outcomes": [verdict.as_dict() for verdict in found],
        "rows": rows,
    }  # fmt: skip
    text = _markdown(options, rows, done)
    lead = "Does the validation loss tell, before any fine-tuning, which model transfers best?"
    title = "Data scaling of masked image modelling"
    path = write_outcome(options.out / "result.json", result, curves=_curves(done), title=title, lead=lead)
    (options.out / "result.md").write_text(text, encoding="utf-8")
    print(f"\n{text}\nwritten to {path}, result.html and result.md")
    return 0 if len(done) == len(rows) else 1


def _scores(rows: Sequence[Row]) -> dict[str, Any]:
    """Rank correlations over all cells, and of each seed apart with their interval."""
    from mimgen.probing.intervals import over_seeds

    scores: dict[str, Any] = {"rank correlation": correlations(mean_over_seeds(rows))}
    apart = [correlations([row for row in rows if row["seed"] == seed]) for seed in sorted({r["seed"] for r in rows})]
    for name in scores["rank correlation"]:
        values = [each[name] for each in apart if name in each]
        if len(values) > 1:
            interval = over_seeds(values)
            scores.setdefault("rank correlation by seed", {})[name] = {**interval.as_dict(), "values": values}
    return scores


def _curves(rows: Sequence[Row]) -> list[Curve]:
    """Both losses of the widest and longest cells by subset, and accuracy against validation loss."""
    means = mean_over_seeds(rows)
    if not means:
        return []
    width, steps = max(row["width"] for row in means), max(row["steps"] for row in means)
    curves = []
    for row in (row for row in means if (row["width"], row["steps"]) == (width, steps)):
        lines = {name: [(point["step"], point[name]) for point in row["curve"]] for name in ("train", "val")}
        curves.append(Curve(f"loss, {row['images'] or 'all'} images, width {width}", "step", lines))
    for key in ("finetune", "probe"):
        points = sorted((row["val_loss"], 100 * row[key]) for row in means if row[key] is not None)
        if points:
            curves.append(Curve(f"{key} accuracy in percent", "validation loss", {key: points}))
    return curves


def _markdown(options: Options, rows: list[Row], done: list[Row]) -> str:
    groups: dict[tuple[int, int, int], list[Row]] = {}
    for row in sorted(done, key=lambda row: (order(row["images"]), row["width"], row["steps"])):
        groups.setdefault((row["images"], row["width"], row["steps"]), []).append(row)
    lines = []
    for (images, width, steps), mine in groups.items():
        measured = [
            mean_range([None if row[key] is None else factor * row[key] for row in mine], digits)
            for _, key, digits, factor in COLUMNS
        ]
        lines.append([str(images or mine[0]["subset_size"]), str(width), str(steps), *measured])
    heads = ["images", "width", "steps", *(head for head, *_ in COLUMNS)]
    ranks = correlations(mean_over_seeds(done))
    hypotheses = check_hypotheses(done) if done else []
    failed = [row for row in rows if "failed" in row]
    parts = [
        f"# Data scaling: {options.method} on {options.data}, {options.pixels} px",
        table(heads, lines) if lines else "No row is finished.",
        "\n".join(f"- Spearman, {name}: {value:.2f}" for name, value in ranks.items()),
        "\n".join(
            f"- **{each.outcome}**: {each.hypothesis}. {each.evidence}. (Rule: {each.rule}.)"
            for each in hypotheses
        ),
        "\n".join(f"- {Cell(**{k: row[k] for k in CELL}).name} failed: {row['failed']}" for row in failed),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"
