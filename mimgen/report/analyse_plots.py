"""Plots of `mimgen analyse`: measures by layer, and spectra of some layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from mimgen.report.curves import Curve

if TYPE_CHECKING:
    from torch import Tensor

    from mimgen.cli.analyse import Seen

__all__ = ["plots"]

Points = list[tuple[float, float]]


def plots(both: Sequence[Seen]) -> list[Curve]:
    """Curves of one encoder, or of two in the same charts; charts without values are left out."""
    shared = len({len(seen.analysis.layers) for seen in both}) == 1
    x = "layer, the last is the output" if shared else "share of depth"
    heads = {
        f"{seen.opened.name}, {name} head": _points(seen, values, shared)
        for seen in both
        if seen.analysis.heads is not None
        for name, values in (("nearest", seen.analysis.heads.amin(1)), ("farthest", seen.analysis.heads.amax(1)))
    }
    charts = [
        Curve("Attention distance, pixels", x, _lines(both, "attention_distance", shared) | _uniform(both, shared)),
        Curve("Spread of heads: attention distance, pixels", x, heads),
        Curve("NMI of attention: how much it depends on the query", x, _lines(both, "attention_nmi", shared)),
        Curve("High frequencies: relative log amplitude", x, _lines(both, "high_frequency", shared)),
        Curve("Cosine between tokens of one picture", x, _lines(both, "token_similarity", shared)),
        Curve("Cosine between pictures, token by token", x, _lines(both, "picture_similarity", shared)),
        Curve("Effective rank: tokens of a picture", x, _lines(both, "token_rank", shared)),
        Curve("Effective rank: mean tokens of pictures", x, _lines(both, "picture_rank", shared)),
        Curve("Spectrum of the tokens: relative log amplitude", "frequency, share of half a cycle a token",
              _spectra(both)),
        Curve("Singular values of a picture's tokens, log10 of share", "number", _decays(both, "token_values")),
        Curve("Singular values of mean tokens, log10 of share", "number", _decays(both, "picture_values")),
    ]  # fmt: skip
    return [chart for chart in charts if any(chart.points.values())]


def _points(seen: Seen, values: Tensor, shared: bool) -> Points:
    last = max(1, len(seen.analysis.layers) - 1)
    numbers = enumerate(values.tolist())
    return [(place if shared else place / last, value) for place, value in numbers if value == value]


def _lines(both: Sequence[Seen], name: str, shared: bool) -> dict[str, Points]:
    return {seen.opened.name: _points(seen, seen.analysis.means()[name], shared) for seen in both}


def _uniform(both: Sequence[Seen], shared: bool) -> dict[str, Points]:
    """What attention that looks everywhere alike would reach."""
    seen = both[0]
    if seen.analysis.heads is None:
        return {}
    reached = seen.analysis.heads[:, 0] * 0 + seen.analysis.uniform_distance
    return {f"looking everywhere alike ({seen.opened.pixels} pixels)": _points(seen, reached, shared)}


def _spectra(both: Sequence[Seen]) -> Mapping[str, Points]:
    return {
        name: [(2 * step / side, value) for step, value in enumerate(seen.analysis.fourier[place].tolist())]
        for name, seen, place in _chosen(both)
        for side in [_side(seen, place)]
    }


def _decays(both: Sequence[Seen], field: str) -> Mapping[str, Points]:
    return {
        name: [(n + 1, value) for n, value in enumerate(getattr(seen.analysis, field)[place].tolist()) if value > -8]
        for name, seen, place in _chosen(both)
    }


def _chosen(both: Sequence[Seen]) -> list[tuple[str, Seen, int]]:
    """First, middle block and output of one encoder; middle block and output of two."""
    found = []
    for seen in both:
        last = len(seen.analysis.layers) - 1
        for place in sorted({0, last // 2, last} if len(both) == 1 else {last // 2, last}):
            layer = seen.analysis.layers[place]
            found.append((f"{seen.opened.name}, {layer if place == last else f'block {layer}'}", seen, place))
    return found


def _side(seen: Seen, place: int) -> int:
    """Rows of the grid of a layer, which the number of frequencies gives up to one; the output's where it fits."""
    frequencies, rows = len(seen.analysis.fourier[place]), seen.analysis.grid[0]
    return rows if rows - rows // 2 == frequencies else 2 * frequencies
