"""The page "what does this encoder look at": images, tables by layer, plots."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mimgen.analysis import (
    SIGNS,
    alike,
    attention_heatmap,
    components,
    heatmap_table,
    overlay,
    resting,
    run_encoder,
)
from mimgen.analysis.run import AnalysedEncoder, AnalysisReport
from mimgen.data import evenly_spaced
from mimgen.report.analyse_plots import plots
from mimgen.report.page import Gallery, Item, Scores, Step
from mimgen.report.result import write_outcome
from mimgen.report.tables import aligned

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


def write(out: Path, found: AnalysisReport, show: int) -> Path:
    """Write the JSON file and the page with `show` images; returns the path of the JSON file."""
    sections: list[Gallery | Scores] = []
    for analysed in found.encoders:
        sections += _attention_gallery(analysed, show)
    sections += [_table(analysed) for analysed in found.encoders]
    if found.second is not None:
        sections.append(_late(found))
    sections += [_agreements(found), Scores("How to read it", "", ("column", "meaning"),
                                            [(column[1], column[3]) for column in COLUMNS], ours=-1)]  # fmt: skip
    names = " and ".join(analysed.name for analysed in found.encoders)
    steps = [
        Step(f"mimgen probe --model {found.first.loaded.facts.get('source', found.first.name)} --layers all",
             "Read labels off every layer: the images above say where an encoder looks, not whether it pays."),
    ]  # fmt: skip
    return write_outcome(
        out, found.result(), sections, plots(found.encoders), title=f"What does {names} look at?",
        lead=" ".join(sentences(found)), next_steps=steps,
    )  # fmt: skip


def text_table(analysed: AnalysedEncoder) -> str:
    """The measures by layer as text; columns that no layer has are left out."""
    names, rows = _cells(analysed)
    head = f"{analysed.name}, {len(analysed.images)} images of {analysed.loaded.pixels} pixels"
    return "\n".join([head, *aligned([["layer", *names], *rows])])


def sentences(found: AnalysisReport) -> list[str]:
    """What the numbers say, in words, and what they cannot say."""
    lines = []
    for analysed in found.encoders:
        analysis = analysed.analysis
        if analysis.heads is not None:
            share = analysed.late("attention_distance") / analysis.uniform_distance
            lines.append(
                f"{analysed.name}: in the last third of its blocks attention reaches {share:.0%} of what looking "
                f"everywhere alike would reach, and depends on the patch that looks with an NMI of "
                f"{analysed.late('attention_nmi'):.3f}."
            )
        lines += [f"{analysed.name}: note that {text}." for text in analysis.warnings]
    sides = [side for _, side in found.contrastive_signs().values()]
    if len(sides) > 1:
        winner = max(set(sides), key=sides.count)
        lines.append(
            f"Of {len(sides)} signs that tell contrastive learning from masked image modelling, "
            f"{sides.count(winner)} put {winner} on the contrastive side."
        )
    return lines


def _attention_gallery(analysed: AnalysedEncoder, show: int) -> list[Gallery]:
    """Attention of some blocks, what is like the middle, and the tokens' main directions."""
    encoder, depth = analysed.loaded.encoder, analysed.loaded.encoder.depth
    chosen = evenly_spaced(len(analysed.images), show)
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
    galleries = [Gallery(f"What {analysed.name} attends to", text, items, width=_width(len(items[0].images)))]
    return galleries + _heads(analysed, images[:2], tokens, blocks)


def _heads(analysed: AnalysedEncoder, images: Tensor, tokens: Any, blocks: Sequence[int]) -> list[Gallery]:
    """The heads of the last block, nearest first."""
    if not tokens.attention or analysed.analysis.heads is None:
        return []
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
    return [Gallery(f"Heads of {analysed.name}'s last block", text, items, width=_width(len(order)))]


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
    return Scores(f"{analysed.name} by layer", text, ["layer", *names], rows, ours=-1)


def _late(found: AnalysisReport) -> Scores:
    rows = [
        (name.replace("_", " "), f"{sign.first:.3f}", f"{sign.second:.3f}",
         "larger" if SIGNS[name] > 0 else "smaller", side)
        for name, (sign, side) in found.contrastive_signs().items()
    ]  # fmt: skip
    text = (
        "Means over the last third of the layers. Contrastive learning looks farther, depends less on the query and "
        "keeps less fine detail than masked image modelling (Park et al., ICLR 2023). Distances are shares of what "
        "uniform attention reaches. The signs are known for encoders of equal size trained on equal data."
    )
    columns = ("measure", *(each.name for each in found.encoders), "contrastive learning is", "on that side")
    return Scores("Contrastive or masked?", text, columns, rows, ours=-1)


def _agreements(found: AnalysisReport) -> Gallery:
    tables = [(analysed.analysis.cka, f"{analysed.name} with itself") for analysed in found.encoders]
    if found.cka is not None and found.second is not None:
        tables.append((found.cka, f"rows: {found.first.name}, columns: {found.second.name}"))
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
