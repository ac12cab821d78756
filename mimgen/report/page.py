"""A self-contained web page of a run: numbers, images, curves; needs no network and no script."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from importlib import resources
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING

from mimgen.ops.images import png_bytes
from mimgen.report.curves import Curve, curve_svg

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Curve", "Gallery", "Item", "Number", "Report", "Scores", "Step", "contact_sheet", "render", "write_report"]


@dataclass(frozen=True)
class Number:
    """A headline figure: what it is called, its value with its unit, and how to read it."""

    label: str
    value: str
    note: str = ""


@dataclass(frozen=True)
class Item:
    """One cell of a gallery: images [3, H, W] in [0, 1] by name, side by side, above a caption."""

    images: Mapping[str, Tensor]
    caption: str
    note: str = ""


@dataclass(frozen=True)
class Gallery:
    """Images under a heading; `width` is the least width of a cell in pixels."""

    title: str
    text: str
    items: Sequence[Item]
    width: int = 230


@dataclass(frozen=True)
class Scores:
    """A table under a heading.

    Attributes:
        columns: heads of the columns.
        rows: the cells of each row; a float is a share in [0, 1], shown in percent with a bar.
        ours: the row to stress.
    """

    title: str
    text: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str | float]]
    ours: int = 0


@dataclass(frozen=True)
class Step:
    """A command worth trying and what it does."""

    command: str
    text: str


@dataclass(frozen=True)
class Report:
    """Everything on the page; `sections` appear in their order."""

    title: str
    lead: str
    numbers: Sequence[Number]
    sections: Sequence[Gallery | Scores]
    curves: Sequence[Curve] = ()
    curves_title: str = "How training went"
    next_steps: Sequence[Step] = ()
    provenance: Mapping[str, object] = field(default_factory=dict)


def write_report(path: Path, report: Report) -> Path:
    """Write the page to `path` and return it."""
    path.write_text(render(report), encoding="utf-8")
    return path


def render(report: Report) -> str:
    """The page as HTML text."""
    template = Template(resources.files("mimgen.report").joinpath("page.html").read_text("utf-8"))
    body = "\n".join(_section(section) for section in report.sections)
    return template.substitute(
        title=escape(report.title),
        lead=escape(report.lead),
        numbers="".join(_number(number) for number in report.numbers),
        body=body + _curves(report.curves, report.curves_title),
        next="".join(_step(step) for step in report.next_steps),
        provenance="".join(_provenance(report.provenance)),
    )


def image_uri(image: Tensor) -> str:
    """[3, H, W] in [0, 1] as an inline PNG address."""
    return "data:image/png;base64," + base64.b64encode(png_bytes(image)).decode()


def contact_sheet(galleries: Sequence[Gallery], gap: int = 4) -> Tensor:
    """All images of galleries in one [3, H, W], on white.

    A row holds one item's images; galleries whose items have few images stand in the same row, item by item.
    """
    import torch
    from torch.nn.functional import pad

    rows = []
    for section in galleries:
        cells = [[pad(image.float().cpu(), (0, gap, 0, gap), value=1.0) for image in item.images.values()]
                 for item in section.items]  # fmt: skip
        # few images per item: one row for the whole gallery; many: one row an item
        lines = [[each for cell in cells for each in cell]] if len(cells[0]) < 3 else cells
        rows += [torch.cat(line, dim=2) for line in lines]
    width = max(row.shape[2] for row in rows)
    return torch.cat([pad(row, (0, width - row.shape[2]), value=1.0) for row in rows], dim=1)


def _number(number: Number) -> str:
    return (
        f'<div class="number"><span class="soft">{escape(number.label)}</span>'
        f"<b>{escape(number.value)}</b><small>{escape(number.note)}</small></div>"
    )


def _section(section: Gallery | Scores) -> str:
    inner = _gallery(section) if isinstance(section, Gallery) else _scores(section)
    return f"<h2>{escape(section.title)}</h2><p>{escape(section.text)}</p>{inner}"


def _gallery(gallery: Gallery) -> str:
    cells = "".join(_item(item) for item in gallery.items)
    return f'<div class="gallery" style="--cell: {gallery.width}px">{cells}</div>'


def _item(item: Item) -> str:
    images = "".join(
        f'<div class="image"><img src="{image_uri(image)}" alt="{escape(f"{name}: {item.caption}")}">'
        f"<small>{escape(name)}</small></div>"
        for name, image in item.images.items()
    )
    note = f"<small>{escape(item.note)}</small>" if item.note else ""
    return (
        f'<figure><div class="row">{images}</div><figcaption>{escape(item.caption)}{note}</figcaption></figure>'
    )


def _scores(scores: Scores) -> str:
    head = "".join(f"<th>{escape(column)}</th>" for column in scores.columns)
    rows = "".join(
        f'<tr{" class=ours" if index == scores.ours else ""}>{"".join(map(_cell, row))}</tr>'
        for index, row in enumerate(scores.rows)
    )
    return f'<div class="panel scroll"><table><tr>{head}</tr>{rows}</table></div>'


def _cell(value: str | float) -> str:
    if isinstance(value, str):
        return f"<td>{escape(value)}</td>"
    share = 100 * min(max(value, 0.0), 1.0)
    return f'<td>{share:.1f} %<span class="bar"><i style="width: {share:.1f}%"></i></span></td>'


def _curves(curves: Sequence[Curve], title: str) -> str:
    panels = "".join(f'<div class="panel">{curve_svg(curve)}</div>' for curve in curves if curve.points)
    return f'<h2>{escape(title)}</h2><div class="curves">{panels}</div>' if panels else ""


def _step(step: Step) -> str:
    return f"<p>{escape(step.text)}</p><pre>{escape(step.command)}</pre>"


def _provenance(values: Mapping[str, object], prefix: str = "") -> list[str]:
    rows = []
    for name, value in values.items():
        if isinstance(value, Mapping):
            rows += _provenance(value, f"{prefix}{name} / ")
        else:
            rows.append(f"<tr><th>{escape(prefix + name)}</th><td>{escape(str(value))}</td></tr>")
    return rows
