"""Plots of `mimgen analyse`: measures by layer, and spectra of some layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from mimgen.analysis.run import AnalysedEncoder
from mimgen.report.curves import Curve

__all__ = ["plots"]

Points = list[tuple[float, float]]


def plots(both: Sequence[AnalysedEncoder]) -> list[Curve]:
    """Curves of one encoder, or of two in the same charts; charts without values are left out."""
    shared = len({len(analysed.analysis.layers) for analysed in both}) == 1
    x = "layer, the last is the output" if shared else "share of depth"
    heads = {
        f"{analysed.name}, {name} head": _points(analysed, values, shared)
        for analysed in both
        if analysed.analysis.heads is not None
        for name, values in (
            ("nearest", analysed.analysis.heads.amin(1)),
            ("farthest", analysed.analysis.heads.amax(1)),
        )
    }
    charts = [
        Curve("Attention distance, pixels", x, _lines(both, "attention_distance", shared) | _uniform(both, shared)),
        Curve("Spread of heads: attention distance, pixels", x, heads),
        Curve("NMI of attention: how much it depends on the query", x, _lines(both, "attention_nmi", shared)),
        Curve("High frequencies: relative log amplitude", x, _lines(both, "high_frequency", shared)),
        Curve("Cosine between tokens of one image", x, _lines(both, "token_similarity", shared)),
        Curve("Cosine between images, token by token", x, _lines(both, "image_similarity", shared)),
        Curve("Effective rank: tokens of an image", x, _lines(both, "token_rank", shared)),
        Curve("Effective rank: mean tokens of images", x, _lines(both, "image_rank", shared)),
        Curve("Spectrum of the tokens: relative log amplitude", "frequency, share of half a cycle per token",
              _spectra(both)),
        Curve("Singular values of an image's tokens, log10 of share", "number", _decays(both, "token_values")),
        Curve("Singular values of mean tokens, log10 of share", "number", _decays(both, "image_values")),
    ]  # fmt: skip
    return [chart for chart in charts if any(chart.points.values())]


def _points(analysed: AnalysedEncoder, values: Tensor, shared: bool) -> Points:
    last = max(1, len(analysed.analysis.layers) - 1)
    numbers = enumerate(values.tolist())
    return [(index if shared else index / last, value) for index, value in numbers if value == value]


def _lines(both: Sequence[AnalysedEncoder], name: str, shared: bool) -> dict[str, Points]:
    return {analysed.name: _points(analysed, analysed.analysis.means()[name], shared) for analysed in both}


def _uniform(both: Sequence[AnalysedEncoder], shared: bool) -> dict[str, Points]:
    """What attention that looks everywhere alike would reach."""
    analysed = both[0]
    if analysed.analysis.heads is None:
        return {}
    reached = analysed.analysis.heads[:, 0] * 0 + analysed.analysis.uniform_distance
    return {f"looking everywhere alike ({analysed.loaded.pixels} pixels)": _points(analysed, reached, shared)}


def _spectra(both: Sequence[AnalysedEncoder]) -> Mapping[str, Points]:
    return {
        name: [(2 * step / side, value) for step, value in enumerate(analysed.analysis.fourier[index].tolist())]
        for name, analysed, index in _chosen(both)
        for side in [_side(analysed, index)]
    }


def _decays(both: Sequence[AnalysedEncoder], field: str) -> Mapping[str, Points]:
    return {
        name: [
            (n + 1, value)
            for n, value in enumerate(getattr(analysed.analysis, field)[index].tolist())
            if value > -8
        ]
        for name, analysed, index in _chosen(both)
    }


def _chosen(both: Sequence[AnalysedEncoder]) -> list[tuple[str, AnalysedEncoder, int]]:
    """First, middle block and output of one encoder; middle block and output of two."""
    found = []
    for analysed in both:
        last = len(analysed.analysis.layers) - 1
        for index in sorted({0, last // 2, last} if len(both) == 1 else {last // 2, last}):
            layer = analysed.analysis.layers[index]
            found.append((f"{analysed.name}, {layer if index == last else f'block {layer}'}", analysed, index))
    return found


def _side(analysed: AnalysedEncoder, index: int) -> int:
    """Rows of the grid of a layer, which the number of frequencies gives up to one; the output's where it fits."""
    frequencies, rows = len(analysed.analysis.fourier[index]), analysed.analysis.grid[0]
    return rows if rows - rows // 2 == frequencies else 2 * frequencies
