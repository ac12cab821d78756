"""How `mimgen probe` shows what it found: a table in the terminal, a JSON file, a page with attention maps."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mimgen.recipes.compare.rows import mean_range, table
from mimgen.report.curves import Curve
from mimgen.report.page import Gallery, Item, Scores

if TYPE_CHECKING:
    from mimgen.cli.probe import Options
    from mimgen.probing.data import ProbeData
    from mimgen.probing.open import LoadedEncoder
    from mimgen.probing.rows import AttentionExample, ProbeRow

__all__ = ["outcome", "printed"]

_IMAGES = 12
_SINGLE = 3  # maps shown by themselves


def printed(loaded: LoadedEncoder, data: ProbeData, lines: Sequence[ProbeRow]) -> str:
    """The table as Markdown: accuracy in percent, mean (lowest to highest over seeds), interval of the mean."""
    depth, several = loaded.encoder.depth, _several(lines)
    rows = []
    for line in lines:
        score = line.score()
        rows.append([line.name(depth, several), mean_range([100 * value for value in line.values], 1),
                     _range(score), _range_of(score.get("over_test_images")), _percent(line.balanced_accuracy),
                     _percent(line.majority)])  # fmt: skip
    heads = ["probe", "accuracy %", "95 % over seeds", "95 % over test images", "mean of classes %",
             "most frequent class %"]  # fmt: skip
    sizes = f'{data.facts["n"]:,} images of {data.facts["train"]}, {data.facts["test_n"]:,} of {data.facts["test"]}'
    title = f'{loaded.name} on {data.facts["data"]}, label "{data.label}" ({len(data.names)} names), {sizes}'
    note = "Segmentation: mean intersection over union in place of accuracy.\n" if _segments(lines) else ""
    return f"{title}\n\n{table(heads, rows)}\n{note}"


def outcome(
    options: Options,
    loaded: LoadedEncoder,
    data: ProbeData,
    lines: Sequence[ProbeRow],
    example: Sequence[AttentionExample],
) -> Path:
    """Write the JSON file and the page; the path of the first."""
    from mimgen.report.result import write_outcome

    assert options.out is not None
    depth, several = loaded.encoder.depth, _several(lines)
    scores = {line.name(depth, several): line.score() for line in lines}
    result = {
        "measure": "probe",
        "model": loaded.name,
        "protocol": _protocol(options, data, lines),
        "scores": scores,
        "encoder": {**loaded.facts, "digest": loaded.digest},
        "chosen_layers": {probe: line.layer for probe, line in _chosen(lines).items()},
        "notes": list(data.notes),
        "details": {line.name(depth, several): line.details for line in lines},
    }
    lead = f'How well "{data.label}" is read off {loaded.name}: {"; ".join(_headlines(loaded, lines))}.'
    sections: list[Gallery | Scores] = [_scores(loaded, lines), *(_gallery(data, one) for one in example)]
    return write_outcome(options.out, result, sections, _curves(loaded, lines), f"Probes of {loaded.name}", lead)


def _protocol(options: Options, data: ProbeData, lines: Sequence[ProbeRow]) -> dict[str, Any]:
    shared = {"layers": options.layers, "pooling": options.pooling, "seeds": options.seeds}
    if any(line.probe == "fine-tune" for line in lines):
        names = ("epochs", "layer_decay", "mixup", "label_smoothing", "drop_path")
        shared["fine_tune"] = {name: getattr(options, name) for name in names}  # type: ignore[assignment]
    if options.masks is not None:
        shared["masks"] = str(options.masks)
    return {**data.facts, **shared}


def _chosen(lines: Sequence[ProbeRow]) -> dict[str, ProbeRow]:
    """The line of each probe, all of train; of several layers the best on held-out images of train, else the last."""
    found: dict[str, ProbeRow] = {}
    for line in lines:
        before = found.get(line.probe)
        if line.few is None and (before is None or (line.validation or 0) >= (before.validation or 0)):
            found[line.probe] = line
    return found


def _headlines(loaded: LoadedEncoder, lines: Sequence[ProbeRow]) -> list[str]:
    depth, several = loaded.encoder.depth, _several(lines)
    return [
        f"{line.name(depth, several)} {100 * _mean(line):.1f} % (most frequent class {_percent(line.majority)} %)"
        for line in _chosen(lines).values()
    ]


def _scores(loaded: LoadedEncoder, lines: Sequence[ProbeRow]) -> Scores:
    rows: list[list[str | float]] = [
        [
            line.name(loaded.encoder.depth, _several(lines)),
            _mean(line),
            _range(line.score()),
            _range_of(line.score().get("over_test_images")),
            line.majority,
        ]
        for line in lines
    ]
    text = (
        "Share of test images whose label is right (segmentation: mean intersection over union), averaged over "
        "seeds, with 95 % intervals in percent."
    )
    heads = ("probe", "score", "over seeds", "over test images", "most frequent class")
    return Scores("Scores", text, heads, rows, ours=-1)


def _gallery(data: ProbeData, example: AttentionExample) -> Gallery:
    """Test images beside where the probe looks: the mean of its maps, and single ones."""
    from mimgen.probing.maps import attention_images

    images = data.test.images[: len(example.tokens)]
    rows = list(range(0, len(images), max(1, len(images) // _IMAGES)))[:_IMAGES]
    tokens = example.tokens[rows]
    maps = example.head.maps(tokens)
    single = list(range(0, maps.shape[1], max(1, maps.shape[1] // _SINGLE)))[:_SINGLE] if maps.shape[1] > 1 else []
    views = {"all maps": None} | {f"map {query}": query for query in single}
    shown = {name: attention_images(images[rows], maps, example.grid, query) for name, query in views.items()}
    predictions = example.head.predict(tokens).tolist()
    labels = data.train_y.unique().tolist()
    items = []
    for number, row in enumerate(rows):
        true, guessed = int(data.test_y[row]), labels[predictions[number]]
        note = "right" if true == guessed else f"taken for {data.names[guessed]}"
        panels = {"image": images[row]} | {name: each[number] for name, each in shown.items()}
        items.append(Item(panels, data.names[true], note))
    text = (
        f"Attention of the probe over the {example.grid[0]} x {example.grid[1]} patches of the last layer asked for, "
        f"with the first seed: the mean of its {maps.shape[1]} maps, and single ones. Yellow is much."
    )
    return Gallery(f"Where the probe {example.probe} looks", text, items, width=420)


def _curves(loaded: LoadedEncoder, lines: Sequence[ProbeRow]) -> list[Curve]:
    """Score by layer where there are several, score by images per class where there are some."""
    curves = []
    complete = [line for line in lines if line.few is None and line.layer is not None]
    if _several(lines):
        points: dict[str, list[tuple[float, float]]] = {}
        for line in complete:
            points.setdefault(line.probe, []).append((float(line.layer or 0), _mean(line)))
        curves.append(Curve(f"Score by layer ({loaded.encoder.depth} is the output)", "layer", points))
    few = [line for line in lines if line.few is not None and line.layer == lines[-1].layer]
    if few:
        points = {}
        for line in few:
            points.setdefault(line.probe, []).append((float(line.few or 0), _mean(line)))
        curves.append(Curve("Score by images per class", "images per class", points))
    return curves


def _mean(line: ProbeRow) -> float:
    return sum(line.values) / len(line.values)


def _several(lines: Sequence[ProbeRow]) -> bool:
    return len({line.layer for line in lines if line.layer is not None}) > 1


def _segments(lines: Sequence[ProbeRow]) -> bool:
    return any(line.balanced_accuracy is None for line in lines)


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"


def _range(score: dict[str, Any]) -> str:
    return _range_of((score["low"], score["high"]) if score.get("over") == "seeds" else None)


def _range_of(ends: Sequence[float] | None) -> str:
    return "-" if ends is None else f"{100 * max(0.0, ends[0]):.1f} to {100 * min(1.0, ends[1]):.1f}"
