"""How `mimgen probe` shows what it found: a table in the terminal, a JSON file, a page with attention maps."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mimgen.recipes.compare.rows import spread, table
from mimgen.report.curves import Curve
from mimgen.report.page import Gallery, Item, Scores

if TYPE_CHECKING:
    from mimgen.cli.probe import Options
    from mimgen.probing.data import ProbeData
    from mimgen.probing.open import Opened
    from mimgen.probing.rows import Line, Looked

__all__ = ["outcome", "printed"]

_PICTURES = 12
_SINGLE = 3  # maps shown by themselves


def printed(opened: Opened, data: ProbeData, lines: Sequence[Line]) -> str:
    """The table as Markdown: accuracy in percent, mean (lowest to highest over seeds), interval of the mean."""
    depth, several = opened.encoder.depth, _several(lines)
    rows = []
    for line in lines:
        score = line.score()
        rows.append([line.name(depth, several), spread([100 * value for value in line.values], 1),
                     _range(score), _range_of(score.get("over_test_pictures")), _percent(line.balanced),
                     _percent(line.majority)])  # fmt: skip
    heads = ["probe", "accuracy %", "95 % over seeds", "95 % over test pictures", "mean of classes %",
             "most frequent class %"]  # fmt: skip
    sizes = f'{data.facts["n"]:,} pictures of {data.facts["train"]}, {data.facts["test_n"]:,} of {data.facts["test"]}'
    title = f'{opened.name} on {data.facts["data"]}, label "{data.label}" ({len(data.names)} names), {sizes}'
    note = "Segmentation: mean intersection over union in place of accuracy.\n" if _segments(lines) else ""
    return f"{title}\n\n{table(heads, rows)}\n{note}"


def outcome(
    options: Options, opened: Opened, data: ProbeData, lines: Sequence[Line], looked: Sequence[Looked]
) -> Path:
    """Write the JSON file and the page; the path of the first."""
    from mimgen.report.result import write_outcome

    assert options.out is not None
    depth, several = opened.encoder.depth, _several(lines)
    scores = {line.name(depth, several): line.score() for line in lines}
    result = {
        "measure": "probe",
        "model": opened.name,
        "protocol": _protocol(options, data, lines),
        "scores": scores,
        "encoder": {**opened.facts, "digest": opened.digest},
        "chosen_layers": {probe: line.layer for probe, line in _chosen(lines).items()},
        "notes": list(data.notes),
        "details": {line.name(depth, several): line.details for line in lines},
    }
    lead = f'How well "{data.label}" is read off {opened.name}: {"; ".join(_headlines(opened, lines))}.'
    sections: list[Gallery | Scores] = [_scores(opened, lines), *(_gallery(data, one) for one in looked)]
    return write_outcome(options.out, result, sections, _curves(opened, lines), f"Probes of {opened.name}", lead)


def _protocol(options: Options, data: ProbeData, lines: Sequence[Line]) -> dict[str, Any]:
    shared = {"layers": options.layers, "pooling": options.pooling, "seeds": options.seeds}
    if any(line.probe == "fine-tune" for line in lines):
        names = ("epochs", "layer_decay", "mixup", "label_smoothing", "drop_path")
        shared["fine_tune"] = {name: getattr(options, name) for name in names}  # type: ignore[assignment]
    if options.masks is not None:
        shared["masks"] = str(options.masks)
    return {**data.facts, **shared}


def _chosen(lines: Sequence[Line]) -> dict[str, Line]:
    """The line of each probe, all of train; of several layers the best on held-out pictures of train, else the last."""
    found: dict[str, Line] = {}
    for line in lines:
        before = found.get(line.probe)
        if line.few is None and (before is None or (line.validation or 0) >= (before.validation or 0)):
            found[line.probe] = line
    return found


def _headlines(opened: Opened, lines: Sequence[Line]) -> list[str]:
    depth, several = opened.encoder.depth, _several(lines)
    return [
        f"{line.name(depth, several)} {100 * _mean(line):.1f} % (most frequent class {_percent(line.majority)} %)"
        for line in _chosen(lines).values()
    ]


def _scores(opened: Opened, lines: Sequence[Line]) -> Scores:
    rows: list[list[str | float]] = [
        [
            line.name(opened.encoder.depth, _several(lines)),
            _mean(line),
            _range(line.score()),
            _range_of(line.score().get("over_test_pictures")),
            line.majority,
        ]
        for line in lines
    ]
    text = (
        "Share of test pictures whose label is right (segmentation: mean intersection over union), averaged over "
        "seeds, with 95 % intervals in percent."
    )
    heads = ("probe", "score", "over seeds", "over test pictures", "most frequent class")
    return Scores("Scores", text, heads, rows, ours=-1)


def _gallery(data: ProbeData, looked: Looked) -> Gallery:
    """Test pictures beside where the probe looks: the mean of its maps, and single ones."""
    from mimgen.probing.maps import attention_pictures

    images = data.test.images[: len(looked.tokens)]
    rows = list(range(0, len(images), max(1, len(images) // _PICTURES)))[:_PICTURES]
    tokens = looked.tokens[rows]
    maps = looked.head.maps(tokens)
    single = list(range(0, maps.shape[1], max(1, maps.shape[1] // _SINGLE)))[:_SINGLE] if maps.shape[1] > 1 else []
    views = {"all maps": None} | {f"map {query}": query for query in single}
    shown = {name: attention_pictures(images[rows], maps, looked.grid, query) for name, query in views.items()}
    guesses = looked.head.predict(tokens).tolist()
    labels = data.train_y.unique().tolist()
    items = []
    for place, row in enumerate(rows):
        true, said = int(data.test_y[row]), labels[guesses[place]]
        note = "right" if true == said else f"taken for {data.names[said]}"
        pictures = {"picture": images[row]} | {name: each[place] for name, each in shown.items()}
        items.append(Item(pictures, data.names[true], note))
    text = (
        f"Attention of the probe over the {looked.grid[0]} x {looked.grid[1]} patches of the last layer asked for, "
        f"with the first seed: the mean of its {maps.shape[1]} maps, and single ones. Yellow is much."
    )
    return Gallery(f"Where the probe {looked.probe} looks", text, items, width=420)


def _curves(opened: Opened, lines: Sequence[Line]) -> list[Curve]:
    """Score by layer where there are several, score by pictures a class where there are some."""
    curves = []
    whole = [line for line in lines if line.few is None and line.layer is not None]
    if _several(lines):
        points: dict[str, list[tuple[float, float]]] = {}
        for line in whole:
            points.setdefault(line.probe, []).append((float(line.layer or 0), _mean(line)))
        curves.append(Curve(f"Score by layer ({opened.encoder.depth} is the output)", "layer", points))
    few = [line for line in lines if line.few is not None and line.layer == lines[-1].layer]
    if few:
        points = {}
        for line in few:
            points.setdefault(line.probe, []).append((float(line.few or 0), _mean(line)))
        curves.append(Curve("Score by pictures a class", "pictures a class", points))
    return curves


def _mean(line: Line) -> float:
    return sum(line.values) / len(line.values)


def _several(lines: Sequence[Line]) -> bool:
    return len({line.layer for line in lines if line.layer is not None}) > 1


def _segments(lines: Sequence[Line]) -> bool:
    return any(line.balanced is None for line in lines)


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"


def _range(score: dict[str, Any]) -> str:
    return _range_of((score["low"], score["high"]) if score.get("over") == "seeds" else None)


def _range_of(ends: Sequence[float] | None) -> str:
    return "-" if ends is None else f"{100 * max(0.0, ends[0]):.1f} to {100 * min(1.0, ends[1]):.1f}"
