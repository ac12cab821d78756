"""Line charts as inline SVG, coloured by the page's style sheet."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

__all__ = ["Curve", "curve_svg"]

Points = Sequence[tuple[float, float]]

_WIDTH, _HEIGHT = 440, 220
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 10, 10, 34
_MAX_POINTS = 300


@dataclass(frozen=True)
class Curve:
    """A chart: points (x, y) of each named line, at most four lines."""

    title: str
    x: str
    points: Mapping[str, Points]


def curve_svg(curve: Curve) -> str:
    """The chart with its heading and legend as HTML; values that are not finite are left out."""
    lines = {name: _thin(_finite(points)) for name, points in curve.points.items()}
    flat = [point for points in lines.values() for point in points]
    if not flat:
        return f"<h3>{escape(curve.title)}</h3><p class='soft'>no values</p>"
    x_low, x_high = _span([x for x, _ in flat])
    y_low, y_high = _span([y for _, y in flat])
    x_ticks, y_ticks = _ticks(x_low, x_high), _ticks(y_low, y_high)
    y_low, y_high = min(y_low, y_ticks[0]), max(y_high, y_ticks[-1])

    def position(x: float, y: float) -> tuple[float, float]:
        across = (x - x_low) / (x_high - x_low) * (_WIDTH - _LEFT - _RIGHT)
        up = (y - y_low) / (y_high - y_low) * (_HEIGHT - _TOP - _BOTTOM)
        return round(_LEFT + across, 1), round(_HEIGHT - _BOTTOM - up, 1)

    parts = [f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(curve.title)}">']
    for value in y_ticks:
        _, y = position(x_low, value)
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y}" y2="{y}"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{y + 4}" text-anchor="end">{value:g}</text>')
    for value in x_ticks:
        x, _ = position(value, y_low)
        parts.append(f'<text x="{x}" y="{_HEIGHT - _BOTTOM + 15}" text-anchor="middle">{value:g}</text>')
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    parts.append(f'<text x="{middle}" y="{_HEIGHT - 3}" text-anchor="middle">{escape(curve.x)}</text>')
    for index, points in enumerate(lines.values()):
        path = " ".join("{},{}".format(*position(x, y)) for x, y in points)
        parts.append(f'<polyline class="curve s{index % 4}" points="{path}"/>')
    return f"<h3>{escape(curve.title)}</h3>{''.join(parts)}</svg>{_legend(list(lines))}"


def _legend(names: Sequence[str]) -> str:
    if len(names) < 2:
        return ""
    spans = "".join(f'<span><i class="s{i % 4}"></i>{escape(name)}</span>' for i, name in enumerate(names))
    return f'<div class="legend">{spans}</div>'


def _finite(points: Points) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in points if math.isfinite(x) and math.isfinite(y)]


def _thin(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """At most `_MAX_POINTS` points, each the mean of its neighbours, so that noise does not mask the trend."""
    bucket = max(1, math.ceil(len(points) / _MAX_POINTS))
    groups = [points[start : start + bucket] for start in range(0, len(points), bucket)]
    return [(sum(x for x, _ in g) / len(g), sum(y for _, y in g) / len(g)) for g in groups]


def _span(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _ticks(low: float, high: float) -> list[float]:
    """About four round values that lie in [low, high]."""
    rough = (high - low) / 4
    unit = 10 ** math.floor(math.log10(rough))
    step = next(unit * factor for factor in (1, 2, 2.5, 5, 10) if unit * factor >= rough)
    first = math.ceil(low / step)
    return [round(index * step, 12) for index in range(first, math.floor(high / step) + 1)]
