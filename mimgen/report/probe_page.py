"""How `mimgen probe` shows what it found: a table in the terminal, a JSON file, a page with attention maps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mimgen.data import evenly_spaced
from mimgen.probing import AttentionExample, ProbeData, ProbeReport, ProbeRow, attention_images, best_rows
from mimgen.report.curves import Curve
from mimgen.report.page import Gallery, Item, Scores
from mimgen.report.result import write_outcome
from mimgen.report.tables import markdown, mean_range, percent

__all__ = ["text_table", "write"]

_IMAGES = 12
_SINGLE = 3  # maps shown by themselves


def text_table(found: ProbeReport) -> str:
    """The table as Markdown: accuracy in percent, mean (lowest to highest over seeds), interval of the mean."""
    rows, data = [], found.data
    for row in found.rows:
        accuracy = mean_range([100 * value for value in row.values], 1)
        classes = percent(row.balanced_accuracy), percent(row.majority)
        rows.append([found.name(row), accuracy, *_intervals(row), *classes])
    heads = ["probe", "accuracy %", "95 % over seeds", "95 % over test images", "mean of classes %",
             "most frequent class %"]  # fmt: skip
    sizes = f'{data.facts["n"]:,} images of {data.facts["train"]}, {data.facts["test_n"]:,} of {data.facts["test"]}'
    title = f'{found.encoder.name} on {data.facts["data"]}, label "{data.label}" ({len(data.names)} names), {sizes}'
    segments = any(row.balanced_accuracy is None for row in found.rows)
    note = "Segmentation: mean intersection over union in place of accuracy.\n" if segments else ""
    return f"{title}\n\n{markdown(heads, rows)}\n{note}"


def write(out: Path, found: ProbeReport) -> Path:
    """Write the JSON file and the page; the path of the first."""
    headlines = "; ".join(
        f"{found.name(row)} {percent(row.mean)} % (most frequent class {percent(row.majority)} %)"
        for row in best_rows(found.rows).values()
    )
    lead = f'How well "{found.data.label}" is read off {found.encoder.name}: {headlines}.'
    sections: list[Gallery | Scores] = [_scores(found), *(_gallery(found.data, one) for one in found.attention)]
    return write_outcome(out, found.result(), sections, _curves(found), f"Probes of {found.encoder.name}", lead)


def _scores(found: ProbeReport) -> Scores:
    rows = [(found.name(row), row.mean, *_intervals(row), row.majority) for row in found.rows]
    text = (
        "Share of test images whose label is right (segmentation: mean intersection over union), averaged over "
        "seeds, with 95 % intervals in percent."
    )
    heads = ("probe", "score", "over seeds", "over test images", "most frequent class")
    return Scores("Scores", text, heads, rows, ours=-1)


def _gallery(data: ProbeData, example: AttentionExample) -> Gallery:
    """Test images beside where the probe looks: the mean of its maps, and single ones."""
    images = data.test.images[: len(example.tokens)]
    rows = evenly_spaced(len(images), _IMAGES)
    tokens = example.tokens[rows]
    maps = example.head.maps(tokens)
    single = evenly_spaced(maps.shape[1], _SINGLE) if maps.shape[1] > 1 else []
    views = {"all maps": None} | {f"map {query}": query for query in single}
    shown = {name: attention_images(images[rows], maps, example.grid, query) for name, query in views.items()}
    predictions = example.head.predict(tokens).tolist()
    labels = data.train_y.unique().tolist()
    items = []
    for number, row in enumerate(rows):
        true, predicted = int(data.test_y[row]), labels[predictions[number]]
        note = "right" if true == predicted else f"taken for {data.names[predicted]}"
        panels = {"image": images[row]} | {name: each[number] for name, each in shown.items()}
        items.append(Item(panels, data.names[true], note))
    text = (
        f"Attention of the probe over the {example.grid[0]} x {example.grid[1]} patches of the last layer asked for, "
        f"with the first seed: the mean of its {maps.shape[1]} maps, and single ones. Yellow is much."
    )
    return Gallery(f"Where the probe {example.probe} looks", text, items, width=420)


def _curves(found: ProbeReport) -> list[Curve]:
    """Score by layer where there are several, score by images per class where there are some."""
    complete = [row for row in found.rows if row.few is None and row.layer is not None]
    few = [row for row in found.rows if row.few is not None and row.layer == found.rows[-1].layer]
    curves = []
    if found.several_layers:
        title = f"Score by layer ({found.encoder.encoder.depth} is the output)"
        curves.append(Curve(title, "layer", _points(complete, lambda row: row.layer)))
    if few:
        curves.append(Curve("Score by images per class", "images per class", _points(few, lambda row: row.few)))
    return curves


def _points(rows: Sequence[ProbeRow], x: Callable[[ProbeRow], int | None]) -> dict[str, list[tuple[float, float]]]:
    points: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        points.setdefault(row.probe, []).append((float(x(row) or 0), row.mean))
    return points


def _intervals(row: ProbeRow) -> tuple[str, str]:
    """Over seeds and over test images, in percent."""
    score: dict[str, Any] = row.score()
    seeds = (score["low"], score["high"]) if score.get("over") == "seeds" else None
    return _interval(seeds), _interval(score.get("over_test_images"))


def _interval(ends: Sequence[float] | None) -> str:
    return "-" if ends is None else f"{100 * max(0.0, ends[0]):.1f} to {100 * min(1.0, ends[1]):.1f}"
