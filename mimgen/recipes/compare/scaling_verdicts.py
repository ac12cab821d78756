"""What the data-scaling study concludes: rank correlations, and claims evaluated by rules stated beforehand."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, cast

from mimgen.errors import UserError
from mimgen.recipes.compare.rows import Row
from mimgen.recipes.compare.verdicts import HypothesisOutcome, rank_correlation

__all__ = ["check_comparable", "check_hypotheses", "correlations", "mean_over_seeds", "order"]

CELLS = 12  # fewer runs rank nothing
STRONG = -0.7  # rank correlation
FLAT = 0.05  # gap, as a share of the validation loss, that still counts as none

_HYPOTHESES = {
    "fit": "a large model over-fits little data: losses part as training resumes, and do not on much data",
    "rank": "the validation loss ranks models for transfer better than the training loss",
    "length": "with much data, a large model pays off more the longer it is trained",
}


def check_comparable(rows: Sequence[Row]) -> None:
    """Refuse to rank losses of different targets, masks or data.

    Raises:
        UserError: the rows' protocols differ; the fields are named.
    """
    first = rows[0]["protocol"] if rows else {}
    differing = {name for row in rows for name in first if row["protocol"].get(name) != first[name]}
    differing |= {name for row in rows for name in row["protocol"] if name not in first}
    if differing:
        raise UserError(
            f"losses of runs with different {', '.join(sorted(differing))} cannot be ranked: keep one folder for each "
            "protocol"
        )


def order(images: int) -> float:
    """Key that sorts sizes of subsets; 0 means all and comes last."""
    return images or float("inf")


def mean_over_seeds(rows: Sequence[Row]) -> list[Row]:
    """One row for each (images, width, steps), every number the mean over seeds."""
    groups: dict[tuple[int, int, int], list[Row]] = {}
    for row in rows:
        groups.setdefault((row["images"], row["width"], row["steps"]), []).append(row)
    found = []
    for (images, width, steps), mine in groups.items():
        means = {name: _mean(row[name] for row in mine) for name in ("train_loss", "val_loss", "probe", "finetune")}
        found.append({"images": images, "width": width, "steps": steps, **means, "curve": _mean_curve(mine)})
    return sorted(found, key=lambda row: (order(row["images"]), row["width"], row["steps"]))


def correlations(rows: Sequence[Row]) -> dict[str, float]:
    """Spearman's coefficient of each loss with each accuracy, over rows; without labels none."""
    found = {}
    for loss in ("val_loss", "train_loss"):
        for accuracy in ("finetune", "probe"):
            pairs = [(row[loss], row[accuracy]) for row in rows if row[accuracy] is not None]
            if len(pairs) > 2:
                found[f"{loss} with {accuracy}"] = rank_correlation(cast(Any, pairs))
    return found


def check_hypotheses(rows: Sequence[Row]) -> list[HypothesisOutcome]:
    """Evaluate the three claims of the paper on rows of all cells and seeds.

    Raises:
        UserError: rows that cannot be compared.
    """
    check_comparable(rows)
    means = mean_over_seeds(rows)
    return [_fit(means), _rank(means), _length(means)]


def _fit(means: Sequence[Row]) -> HypothesisOutcome:
    rule = (
        "with the fewest images, the largest model and the longest training the gap of validation over training loss "
        f"is positive, has grown since the first measurement, and the validation loss was lowest before the end; with "
        f"the most images the gap is below {FLAT:.0%} of the validation loss. Refuted if the gap is not positive"
    )
    sizes, widths, lengths = (_values(means, name) for name in ("images", "width", "steps"))
    cells = [_cell(means, size, widths[-1], lengths[-1]) for size in (sizes[0], sizes[-1])] if means else []
    if len(sizes) < 2 or not all(cells):
        return HypothesisOutcome(_HYPOTHESES["fit"], rule, "undecided", "fewer than two sizes of data")
    few, many = cast(list[Row], cells)
    gaps = [point["val"] - point["train"] for point in few["curve"]]
    lowest = min(few["curve"], key=lambda point: point["val"])["step"]
    rest = (many["val_loss"] - many["train_loss"]) / many["val_loss"]
    sure = gaps[-1] > max(0.0, gaps[0]) and lowest < few["curve"][-1]["step"] and rest < FLAT
    outcome = "confirmed" if sure else "refuted" if gaps[-1] <= 0 else "undecided"
    evidence = (
        f"gap {gaps[0]:.4f} at first, {gaps[-1]:.4f} at the end; lowest validation loss at step {lowest} of "
        f"{few['curve'][-1]['step']}; with the most images {rest:.1%} of the loss"
    )
    return HypothesisOutcome(_HYPOTHESES["fit"], rule, outcome, evidence)


def _rank(means: Sequence[Row]) -> HypothesisOutcome:
    rule = (
        f"over at least {CELLS} cells (means over seeds) Spearman's coefficient of validation loss with fine-tuned "
        f"accuracy (linear probe where nothing is fine-tuned) is at most {STRONG} and below that of the training loss; "
        "refuted if it is not below"
    )
    accuracy = "finetune" if all(row["finetune"] is not None for row in means) else "probe"
    found = correlations(means)
    names = [f"{loss} with {accuracy}" for loss in ("val_loss", "train_loss")]
    if len(means) < CELLS or not all(name in found for name in names):
        return HypothesisOutcome(_HYPOTHESES["rank"], rule, "undecided", f"{len(means)} cells")
    val, train = (found[name] for name in names)
    outcome = "confirmed" if val <= STRONG and val < train else "refuted" if val >= train else "undecided"
    return HypothesisOutcome(
        _HYPOTHESES["rank"], rule, outcome, f"validation {val:.2f}, training {train:.2f}, {len(means)} cells"
    )


def _length(means: Sequence[Row]) -> HypothesisOutcome:
    rule = (
        "with the most images, validation loss of the smallest minus that of the largest model is larger after the "
        "longest than after the shortest training; refuted otherwise"
    )
    sizes, widths, lengths = (_values(means, name) for name in ("images", "width", "steps"))
    if len(widths) < 2 or len(lengths) < 2:
        return HypothesisOutcome(_HYPOTHESES["length"], rule, "undecided", "fewer than two widths or lengths")
    gains = []
    for steps in (lengths[0], lengths[-1]):
        small, large = (_cell(means, sizes[-1], width, steps) for width in (widths[0], widths[-1]))
        if small is None or large is None:
            return HypothesisOutcome(_HYPOTHESES["length"], rule, "undecided", "a run is missing")
        gains.append(small["val_loss"] - large["val_loss"])
    outcome = "confirmed" if gains[1] > gains[0] else "refuted"
    return HypothesisOutcome(
        _HYPOTHESES["length"], rule, outcome, f"{gains[0]:.4f} after {lengths[0]}, {gains[1]:.4f} after "
                   f"{lengths[-1]} steps")  # fmt: skip


def _values(means: Sequence[Row], name: str) -> list[int]:
    return sorted({row[name] for row in means}, key=order if name == "images" else None)


def _cell(means: Sequence[Row], images: int, width: int, steps: int) -> Row | None:
    wanted = (images, width, steps)
    return next((row for row in means if (row["images"], row["width"], row["steps"]) == wanted), None)


def _mean(values: Iterable[float | None]) -> float | None:
    found = [value for value in values if value is not None]
    return sum(found) / len(found) if found else None


def _mean_curve(rows: Sequence[Row]) -> list[Row]:
    points = zip(*(row["curve"] for row in rows))
    return [
        {"step": each[0]["step"], **{name: _mean(point[name] for point in each) for name in ("train", "val")}}
        for each in points
    ]
