"""`mimgen analyse`: what an encoder attends to and how its layers differ, without any label."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mimgen.cli.options import parse
from mimgen.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

    from mimgen.analysis import Analysis
    from mimgen.probing.open import LoadedEncoder

__all__ = ["AnalysedEncoder", "Arguments", "main"]


@dataclass(frozen=True)
class Arguments:
    """Measure every layer of an encoder and show what it attends to; no label is needed.

    Attributes:
        model: the encoder: "bundled", "random-vit", "pixels", "hog", a folder (of a run, a pipeline, an encoder
            or a tokenizer), timm:NAME or hf:FOLDER.
        against: a second encoder, named likewise, to compare with on the same images.
        data: the images; see `mimgen data show`.
        split: part of the data; by default val of built-in and everything of other data.
        pixels: side of the images; by default what each encoder was trained at.
        limit: measure so many images, spread over the data; 0 for all.
        show: so many images in the page.
        batch: images at a time, 8 or more.
        out: write the numbers to this JSON file and the page beside it, as .html.
    """

    model: str = "bundled"
    against: str | None = None
    data: str = "emoji"
    split: str | None = None
    pixels: int | None = None
    limit: int = 128
    show: int = 6
    batch: int = 16
    out: Path | None = None


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


def main(arguments: list[str]) -> int:
    """Measure, print the tables by layer, and write JSON and page where asked."""
    options = parse(Arguments, arguments, "mimgen analyse")
    if options.limit and options.limit < 4:
        raise UserError(f"--limit {options.limit}: give at least 4 images, or 0 for all")
    if options.show < 1:
        raise UserError(f"--show {options.show}: give at least 1")
    first = _analysed(options.model, options)
    second = _analysed(options.against, options) if options.against else None

    from mimgen.report import analyse_page as page

    for analysed in filter(None, (first, second)):
        print(page.text_table(analysed))
    for line in page.sentences(first, second):
        print(line)
    if options.out is not None:
        cka = _agreement(first, second, options.batch)
        written = page.write(options.out, _result(options, first, second, cka), first, second, cka, options.show)
        print(f"written to {written} and {written.with_suffix('.html').name}")
    return 0


def _analysed(spec: str, options: Arguments) -> AnalysedEncoder:
    from mimgen.analysis import analyse
    from mimgen.probing.open import open_encoder

    loaded = open_encoder(spec, options.pixels)
    images, captions, fingerprint = _images(options, loaded.pixels)
    return AnalysedEncoder(
        loaded, images, captions, fingerprint, analyse(loaded.encoder, images, batch_size=options.batch)
    )


def _images(options: Arguments, side: int) -> tuple[Tensor, tuple[str, ...], str]:
    """Images spread over the data, their captions, and the data set's fingerprint."""
    from mimgen.data import BUILT_IN, Dataset, load_images, open_data

    split = options.split or ("val" if options.data in BUILT_IN else None)
    dataset = open_data(options.data, size=side, split=split)
    if not isinstance(dataset, Dataset):
        raise UserError(f"{options.data} is a stream; measuring needs data on disk")
    count = min(len(dataset), options.limit or len(dataset))
    if count < 4:
        raise UserError(f"{options.data} holds {len(dataset)} images, analysis wants 4 or more: check the split")
    chosen = [index * len(dataset) // count for index in range(count)]
    captions = dataset.captions
    return load_images(dataset, chosen), tuple(captions[index] for index in chosen), dataset.fingerprint


def _agreement(first: AnalysedEncoder, second: AnalysedEncoder | None, batch: int) -> Tensor | None:
    from mimgen.analysis import cross_cka

    if second is None:
        return None
    return cross_cka(
        first.loaded.encoder, first.images, second.loaded.encoder, second.images, batch_size=batch
    ).clamp(max=1)


def _result(
    options: Arguments, first: AnalysedEncoder, second: AnalysedEncoder | None, cka: Tensor | None
) -> dict[str, Any]:
    """Everything for the JSON file; the scores are those of `--model`."""
    protocol = {
        "data": options.data, "split": options.split, "fingerprint": first.fingerprint, "n": len(first.images),
        "pixels": first.loaded.pixels, "batch": options.batch,
        "intervals": "95 %, normal, over images; attention distance in pixels, prefix tokens left out",
    }  # fmt: skip
    result = {"measure": "analysis", "model": first.loaded.name, "protocol": protocol, **_facts(first)}
    if second is not None and cka is not None:
        from mimgen.analysis import signs

        compared = signs(first.analysis, second.analysis)
        result["against"] = {"model": second.loaded.name, "pixels": second.loaded.pixels, **_facts(second)}
        result["late_layers"] = {name: vars(sign) for name, sign in compared.items()}
        result["cka_between"] = {"rows": first.analysis.layers, "columns": second.analysis.layers, "values": cka}
    return result


def _facts(analysed: AnalysedEncoder) -> dict[str, Any]:
    analysis = analysed.analysis
    return {
        "encoder": {**analysed.loaded.facts, "digest": analysed.loaded.digest},
        "scores": scores(analysis),
        "grid": analysis.grid,
        "uniform_attention_distance": analysis.uniform_distance,
        "attention_distance_of_heads": analysis.heads,
        "fourier_relative_log_amplitude": dict(zip(analysis.layers, analysis.fourier, strict=True)),
        "log10_singular_values_of_tokens": dict(zip(analysis.layers, analysis.token_values, strict=True)),
        "log10_singular_values_of_images": dict(zip(analysis.layers, analysis.image_values, strict=True)),
        "cka_between_layers": {"layers": analysis.layers, "values": analysis.cka},
        "warnings": analysis.warnings,
    }


def scores(analysis: Analysis) -> dict[str, Mapping[str, Any]]:
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
