"""The page "what does this encoder look at": images, tables by layer, plots."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mimgen.report.analyse_plots import plots
from mimgen.report.page import Gallery, Item, Scores, Step
from mimgen.report.result import write_outcome

if TYPE_CHECKING:
    from torch import Tensor

    from mimgen.cli.analyse import AnalysedEncoder

__all__ = ["COLUMNS", "sentences", "text_table", "write"]

_SHOWN_BLOCKS = 4

# measure, heading of its column, digits, how to read it
COLUMNS = (
    ("attention_distance", "distance px", 1, "how far from a patch attention lies on average, in pixels"),
    ("attention_nmi", "NMI", 3, "0: all patches look at the same positions; 1: where one looks depends on it alone"),
    ("head_similarity", "heads alike", 3, "cosine between the maps of different heads; 1: all heads do the same"),
    ("high_frequency", "high freq", 2, "log amplitude of the finest detail in the tokens over that of their mean; "
     "higher keeps edges and texture, lower keeps shape"),
    ("token_similarity", "tokens alike", 3, "cosine between tokens of one image; 1: the image is one token"),
    ("image_similarity", "images alike", 3, "cosine between tokens at one place of different images"),
    ("depth_similarity", "as before", 3, "cosine between a token before and after the block"),
    ("token_rank", "token rank", 1, "directions in which tokens of one image spread (effective rank)"),
    ("image_rank", "image rank", 1, "directions in which mean tokens of the images spread (effective rank)"),
)  # fmt: skip


def write(
    out: Path,
    result: dict[str, Any],
    first: AnalysedEncoder,
    second: AnalysedEncoder | None,
    cka: Tensor | None,
    show: int,
) -> Path:
    """Write the JSON file and the page; returns the path of the JSON file."""
    both = [analysed for analysed in (first, second) if analysed is not None]
    sections: list[Gallery | Scores] = []
    for analysed in both:
        sections += _attention_gallery(analysed, show)
    sections += [_table(analysed) for analysed in both]
    if second is not None:
        sections.append(_late(first, second))
    sections += [_agreements(both, cka), _reading()]
    names = " and ".join(analysed.loaded.name for analysed in both)
    steps = [
        Step(f"mimgen probe --model {first.loaded.facts.get('source', first.loaded.name)} --layers all",
             "Read labels off every layer: the images above say where an encoder looks, not whether it pays."),
    ]  # fmt: skip
    return write_outcome(
        out, result, sections, plots(both), title=f"What does {names} look at?",
        lead=" ".join(sentences(first, second)), next_steps=steps,
    )  # fmt: skip


def text_table(analysed: AnalysedEncoder) -> str:
    """The measures by layer as text; columns that no layer has are left out."""
    names, rows = _cells(analysed)
    lines = [["layer", *names], *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    head = f"{analysed.loaded.name}, {len(analysed.images)} images of {analysed.loaded.pixels} pixels"
    return "\n".join(
        [head, *("  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in lines)]
    )


def sentences(first: AnalysedEncoder, second: AnalysedEncoder | None) -> list[str]:
    """What the numbers say, in words, and what they cannot say."""
    lines_found = []
    for analysed in filter(None, (first, second)):
        analysis, name = analysed.analysis, analysed.loaded.name
        if analysis.heads is not None:
            share = _late_of(analysed, "attention_distance") / analysis.uniform_distance
            lines_found.append(
                f"{name}: in the last third of its blocks attention reaches {share:.0%} of what looking everywhere "
                f"alike would reach, and depends on the patch that looks with an NMI of "
                f"{_late_of(analysed, 'attention_nmi'):.3f}."
            )
        lines_found += [f"{name}: note that {text}." for text in analysis.warnings]
    if second is not None:
        lines_found += _contrast(first, second)
    return lines_found


def _late_of(analysed: AnalysedEncoder, name: str) -> float:
    from mimgen.analysis import late

    return late(analysed.analysis, name)


def _contrast(first: AnalysedEncoder, second: AnalysedEncoder) -> list[str]:
    from mimgen.analysis import signs

    names = {"first": first.loaded.name, "second": second.loaded.name, "neither": "neither"}
    sides = [names[sign.contrastive] for sign in signs(first.analysis, second.analysis).values()]
    if len(sides) < 2:
        return []
    winner = max(set(sides), key=sides.count)
    return [
        f"Of {len(sides)} signs that tell contrastive learning from masked image modelling, "
        f"{sides.count(winner)} put {winner} on the contrastive side."
    ]


def _attention_gallery(analysed: AnalysedEncoder, show: int) -> list[Gallery]:
    """Attention of some blocks, what is like the middle, and the tokens' main directions."""
    import torch

    from mimgen.analysis import alike, attention_heatmap, components, overlay, resting, run_encoder

    encoder, depth = analysed.loaded.encoder, analysed.loaded.encoder.depth
    count = min(show, len(analysed.images))
    chosen = [index * len(analysed.images) // count for index in range(count)]
    images = analysed.images[chosen]
    blocks = sorted({round(depth_share * (depth - 1) / (_SHOWN_BLOCKS - 1)) for depth_share in range(_SHOWN_BLOCKS)})
    with resting(encoder), torch.no_grad():
        tokens = run_encoder(encoder, images, attention=blocks if analysed.analysis.heads is not None else ())
    rows, columns = grid = tokens.grid
    middle = rows // 2 * columns + columns // 2
    colours = components(tokens.patches, grid, images.shape[-1])
    items, prefix = [], tokens.prefix.shape[1]
    for place, image in enumerate(images):
        panels = {"image": image}
        for block, maps in zip(blocks, tokens.attention, strict=False):
            panels[f"block {block}"] = overlay(image, attention_heatmap(maps[place].mean(0), prefix), grid)
        panels["like the middle"] = overlay(image, alike(tokens.patches[place].cpu(), middle), grid)
        panels["token colours"] = colours[place]
        items.append(Item(panels, analysed.captions[chosen[place]] or f"image {chosen[place]}"))
    who = "the class token attends to" if prefix else "all patches look at"
    text = (f"Bright: what {who} in some blocks, mean over heads. " if tokens.attention else "") + (
        "Like the middle: cosine of every output token with the one in the middle. Token colours: the three main "
        "directions of the output tokens as red, green and blue, common to these images."
    )
    galleries = [Gallery(f"What {analysed.loaded.name} attends to", text, items, width=_width(len(items[0].images)))]
    return galleries + _heads(analysed, images[:2], tokens, blocks)


def _heads(analysed: AnalysedEncoder, images: Tensor, tokens: Any, blocks: Sequence[int]) -> list[Gallery]:
    """The heads of the last block, nearest first."""
    if not tokens.attention or analysed.analysis.heads is None:
        return []

    from mimgen.analysis import attention_heatmap, overlay

    distances, prefix = analysed.analysis.heads[blocks[-1]], tokens.prefix.shape[1]
    order = distances.argsort().tolist()
    items = []
    for place, image in enumerate(images):
        maps = tokens.attention[-1][place]
        panels = {
            f"head {head}, {float(distances[head]):.0f} px": overlay(
                image, attention_heatmap(maps[head], prefix), tokens.grid
            )
            for head in order
        }
        items.append(Item(panels, f"block {blocks[-1]}, heads by attention distance"))
    text = "Each head alone, those that look nearby first."
    return [Gallery(f"Heads of {analysed.loaded.name}'s last block", text, items, width=_width(len(order)))]


def _width(images: int) -> int:
    """Pixels of a gallery's cell in which so many images can be seen side by side."""
    return min(960, 140 * images)


def _cells(analysed: AnalysedEncoder) -> tuple[list[str], list[list[str]]]:
    means = analysed.analysis.means()
    kept = [column for column in COLUMNS if bool(means[column[0]].isfinite().any())]
    rows = [
        [layer, *(_number(float(means[name][place]), digits) for name, _, digits, _ in kept)]
        for place, layer in enumerate(analysed.analysis.layers)
    ]
    return [heading for _, heading, _, _ in kept], rows


def _number(value: float, digits: int) -> str:
    return f"{value:.{digits}f}" if math.isfinite(value) else "-"


def _table(analysed: AnalysedEncoder) -> Scores:
    names, rows = _cells(analysed)
    text = f"{len(analysed.images)} images; means over images and heads. Intervals are in the JSON file."
    return Scores(f"{analysed.loaded.name} by layer", text, ["layer", *names], rows, ours=-1)


def _late(first: AnalysedEncoder, second: AnalysedEncoder) -> Scores:
    from mimgen.analysis import SIGNS, signs

    names = {"first": first.loaded.name, "second": second.loaded.name, "neither": "neither"}
    rows = [
        (name.replace("_", " "), f"{sign.first:.3f}", f"{sign.second:.3f}",
         "larger" if SIGNS[name] > 0 else "smaller", names[sign.contrastive])
        for name, sign in signs(first.analysis, second.analysis).items()
    ]  # fmt: skip
    text = (
        "Means over the last third of the layers. Contrastive learning looks farther, depends less on the query and "
        "keeps less fine detail than masked image modelling (Park et al., ICLR 2023). Distances are shares of what "
        "uniform attention reaches. The signs are known for encoders of equal size trained on equal data."
    )
    columns = ("measure", names["first"], names["second"], "contrastive learning is", "on that side")
    return Scores("Contrastive or masked?", text, columns, rows, ours=-1)


def _agreements(both: Sequence[AnalysedEncoder], cka: Tensor | None) -> Gallery:
    from mimgen.analysis import heatmap_table

    tables = [(analysed.analysis.cka, f"{analysed.loaded.name} with itself") for analysed in both]
    if cka is not None:
        tables.append((cka, f"rows: {both[0].loaded.name}, columns: {both[1].loaded.name}"))
    items = [
        Item({_range(table): heatmap_table(table)}, name, "first layer on top and on the left, the output last")
        for table, name in tables
    ]
    text = (
        "Linear CKA between layers, from all tokens, unbiased and by batches: bright where two layers tell images "
        "apart alike (1), dark where they do not (0)."
    )
    return Gallery("Which layers agree", text, items, width=240)


def _range(table: Tensor) -> str:
    values = table[table.isfinite()]
    return f"{float(values.min()):.2f} to {float(values.max()):.2f}" if len(values) else "not defined"


def _reading() -> Scores:
    rows = [(heading, meaning) for _, heading, _, meaning in COLUMNS]
    return Scores("How to read it", "", ("column", "meaning"), rows, ours=-1)
