"""One encoder, or two on the same images, measured layer by layer: what `mimgen analyse` prints and writes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from torch import Tensor

from mimgen.analysis.contrast import Sign, cross_cka, late, signs
from mimgen.analysis.layers import Analysis, analyse
from mimgen.data import load_spaced, open_dataset
from mimgen.errors import UserError
from mimgen.probing import LoadedEncoder

__all__ = ["AnalysedEncoder", "AnalysisReport", "analyse_encoders", "layer_scores"]


@dataclass(frozen=True)
class AnalysedEncoder:
    """One encoder with the images it saw and what came of it.

    Attributes:
        loaded: the encoder with its name and facts.
        images: [n, 3, S, S] in [0, 1].
        captions: n strings.
        fingerprint: of the data set at this size.
        analysis: the measures.
    """

    loaded: LoadedEncoder
    images: Tensor
    captions: tuple[str, ...]
    fingerprint: str
    analysis: Analysis

    @property
    def name(self) -> str:
        """The encoder's name for tables."""
        return self.loaded.name

    def late(self, measure: str) -> float:
        """Mean of a measure over the last third of the layers that have it."""
        return late(self.analysis, measure)

    def facts(self) -> dict[str, Any]:
        """JSON: the encoder, its scores by layer, and curves and tables of its layers."""
        analysis, layers = self.analysis, self.analysis.layers
        return {
            "encoder": {**self.loaded.facts, "digest": self.loaded.digest},
            "scores": layer_scores(analysis),
            "grid": analysis.grid,
            "uniform_attention_distance": analysis.uniform_distance,
            "attention_distance_of_heads": analysis.heads,
            "fourier_relative_log_amplitude": dict(zip(layers, analysis.fourier, strict=True)),
            "log10_singular_values_of_tokens": dict(zip(layers, analysis.token_values, strict=True)),
            "log10_singular_values_of_images": dict(zip(layers, analysis.image_values, strict=True)),
            "cka_between_layers": {"layers": layers, "values": analysis.cka},
            "warnings": analysis.warnings,
        }


@dataclass(frozen=True)
class AnalysisReport:
    """One encoder, or two side by side.

    Attributes:
        first: whose scores count as those of the report.
        second: what it is compared with, or None.
        data: the images, as the user calls them.
        split: part of the data.
        batch_size: images at a time, on which CKA by batches depends.
    """

    first: AnalysedEncoder
    second: AnalysedEncoder | None
    data: str
    split: str | None
    batch_size: int

    @property
    def encoders(self) -> tuple[AnalysedEncoder, ...]:
        """One or two."""
        return (self.first,) if self.second is None else (self.first, self.second)

    @cached_property
    def cka(self) -> Tensor | None:
        """[L, M] agreement of every layer of the first with every layer of the second encoder; None with one alone."""
        if self.second is None:
            return None
        one, other = self.first, self.second
        found = cross_cka(
            one.loaded.encoder, one.images, other.loaded.encoder, other.images, batch_size=self.batch_size
        )
        return found.clamp(max=1)  # rounding may lift the unbiased estimate a little above its bound

    def contrastive_signs(self) -> dict[str, tuple[Sign, str]]:
        """Each sign that tells contrastive learning from masked image modelling, with who is on the former's side."""
        if self.second is None:
            return {}
        names = {"first": self.first.name, "second": self.second.name, "neither": "neither"}
        found = signs(self.first.analysis, self.second.analysis)
        return {name: (sign, names[sign.contrastive]) for name, sign in found.items()}

    def result(self) -> dict[str, Any]:
        """JSON: measure, model, protocol, scores of the first encoder, and everything else that was measured."""
        protocol = {
            "data": self.data, "split": self.split, "fingerprint": self.first.fingerprint,
            "n": len(self.first.images), "pixels": self.first.loaded.pixels, "batch": self.batch_size,
            "intervals": "95 %, normal, over images; attention distance in pixels, prefix tokens left out",
        }  # fmt: skip
        result = {"measure": "analysis", "model": self.first.name, "protocol": protocol, **self.first.facts()}
        if self.second is not None:
            layers = {"rows": self.first.analysis.layers, "columns": self.second.analysis.layers}
            result["against"] = {
                "model": self.second.name,
                "pixels": self.second.loaded.pixels,
                **self.second.facts(),
            }
            result["late_layers"] = {name: vars(sign) for name, (sign, _) in self.contrastive_signs().items()}
            result["cka_between"] = {**layers, "values": self.cka}
        return result


def analyse_encoders(
    first: LoadedEncoder,
    second: LoadedEncoder | None = None,
    *,
    data: str = "emoji",
    split: str | None = None,
    limit: int | None = 128,
    batch_size: int = 16,
) -> AnalysisReport:
    """Measure every layer of an encoder, or of two on the same images; no label is needed.

    Args:
        first: of `mimgen.probing.open_encoder`.
        second: another one, or None.
        data: the images, as `mimgen.data.open_data` takes them; each encoder sees them at its own size.
        split: part of the data; everything by default.
        limit: so many images, spread over the data; None for all.
        batch_size: images at a time, 8 or more.

    Raises:
        UserError: streamed data, or fewer than 4 images.
    """

    def measured(loaded: LoadedEncoder) -> AnalysedEncoder:
        dataset = open_dataset(data, size=loaded.pixels, split=split)
        if len(dataset) < 4:
            raise UserError(f"{data} holds {len(dataset)} images, analysis wants 4 or more: check the split")
        images, captions = load_spaced(dataset, limit)
        analysis = analyse(loaded.encoder, images, batch_size=batch_size)
        return AnalysedEncoder(loaded, images, captions, dataset.fingerprint, analysis)

    return AnalysisReport(
        measured(first), None if second is None else measured(second), data, split, batch_size
    )


def layer_scores(analysis: Analysis) -> dict[str, Mapping[str, Any]]:
    """Measures by name, then by layer; those over images with a 95 % interval; layers without one are left out."""
    found: dict[str, dict[str, Any]] = {}
    for name, values in analysis.images.items():
        means, errors = values.mean(1), values.std(1) / values.shape[1] ** 0.5
        for layer, mean, error in zip(analysis.layers, means.tolist(), errors.tolist(), strict=True):
            if mean == mean:  # not NaN
                interval = {"mean": mean, "low": mean - 1.96 * error, "high": mean + 1.96 * error}
                found.setdefault(name, {})[layer] = interval
    for name, values in analysis.overall.items():
        numbers = zip(analysis.layers, values.tolist(), strict=True)
        found[name] = {layer: value for layer, value in numbers if value == value}
    return {name: by_layer for name, by_layer in found.items() if by_layer}
