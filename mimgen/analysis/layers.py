"""Every measure of every layer of an encoder, in one pass over the images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from mimgen.analysis.cka import MinibatchCka
from mimgen.analysis.encoder import Encoder, in_batches, level_grid, levels_of, resting, run_encoder
from mimgen.analysis.similarity import between_images, depth_similarity, token_similarity, unit
from mimgen.ops.attention_maps import attention_distance, attention_nmi, grid_distances, head_similarity
from mimgen.ops.ranks import effective_rank, stable_rank
from mimgen.ops.spectrum import relative_log_amplitude, singular_values
from mimgen.types import Tokens

__all__ = ["Analysis", "analyse"]

_OF_MAPS = ("attention_distance", "attention_nmi", "head_similarity")


@dataclass(frozen=True)
class Analysis:
    """What was measured of an encoder; L layers are its blocks in order and then its output.

    Attributes:
        layers: L names, "0" to "depth - 1" and "output".
        images: measures with one value per image, by name, each [L, n] float64; NaN where a layer has none.
            attention_distance (pixels), attention_nmi, head_similarity, high_frequency (relative log amplitude
            of the highest frequency on the diagonal), token_similarity, depth_similarity (with the layer
            before), token_rank (effective) and token_stable_rank.
        overall: measures of the set of images, by name, each [L] float64: image_similarity, and of the
            mean token of each image image_rank (effective) and image_stable_rank.
        heads: attention distance of every head, [blocks, H] float64, mean over images; None without maps.
        fourier: for each layer the mean relative log amplitude by frequency, [h - h // 2]; empty where the
            grid of the layer is unknown.
        token_values: for each layer the mean over images of log10 of the singular values of an image's
            tokens over the largest.
        image_values: the same of the mean tokens of all images.
        cka: [L, L] linear CKA between layers, unbiased, by batches.
        uniform_distance: attention distance in pixels of a map that looks everywhere alike.
        grid: rows and columns of the output.
        warnings: what the numbers cannot say, in words.
    """

    layers: tuple[str, ...]
    images: Mapping[str, Tensor]
    overall: Mapping[str, Tensor]
    heads: Tensor | None
    fourier: tuple[Tensor, ...]
    token_values: tuple[Tensor, ...]
    image_values: tuple[Tensor, ...]
    cka: Tensor
    uniform_distance: float
    grid: tuple[int, int]
    warnings: tuple[str, ...] = ()

    def means(self) -> dict[str, Tensor]:
        """Every measure by layer, [L] float64."""
        return {name: values.mean(1) for name, values in self.images.items()} | dict(self.overall)


@dataclass
class _Layer:
    """What one layer has shown so far; lists grow by one entry per batch."""

    values: dict[str, list[Tensor]] = field(default_factory=dict)
    units: Tensor | float = 0.0
    pooled: list[Tensor] = field(default_factory=list)

    def add(self, **values: Tensor) -> None:
        for name, value in values.items():
            self.values.setdefault(name, []).append(value.cpu())

    def joined(self, name: str) -> Tensor | None:
        return torch.cat(self.values[name]) if name in self.values else None


def analyse(encoder: Encoder, images: Tensor, *, batch_size: int = 16) -> Analysis:
    """Measure all layers of an encoder.

    Args:
        encoder: any encoder; maps of attention are measured where it takes `attention=`, levels where it
            has layers, the output always. A module is put into evaluation mode meanwhile.
        images: [n, 3, H, W] in [0, 1], n >= 4.
        batch_size: images at a time, 8 or more; no result depends on it but `cka`, and that in its noise only.

    Raises:
        UserError: too few images, or an encoder that gives NaN.
    """
    state, cka, grid, windowed = [_Layer() for _ in range(encoder.depth + 1)], MinibatchCka(), (0, 0), False
    with resting(encoder), torch.no_grad():
        for batch in in_batches(images, batch_size):
            tokens = run_encoder(encoder, batch, attention=True)
            levels, grid = levels_of(tokens), tokens.grid
            _add_levels(state, levels, grid)
            cka.add(levels, levels)
            windowed = not _add_maps(state, tokens, encoder.patch) or windowed
    return _finished(encoder, state, cka, grid, len(images), windowed)


def _add_levels(state: Sequence[_Layer], levels: Sequence[Tensor], grid: tuple[int, int]) -> None:
    before: Tensor | None = None
    for layer, level in zip(state, levels, strict=True):
        layer.units = layer.units + unit(level).sum(0)  # [N, D], all that similarity between images needs
        layer.pooled.append(level.double().mean(1).cpu())  # [b, D]
        values = singular_values(level)
        layer.add(
            token_similarity=token_similarity(level),
            token_rank=effective_rank(values),
            token_stable_rank=stable_rank(values),
            token_values=_decay(values),
        )
        if before is not None and before.shape == level.shape:
            layer.add(depth_similarity=depth_similarity(before, level))
        own = level_grid(level.shape[1], grid)
        if own is not None and own[0] == own[1] > 1:
            spectrum = relative_log_amplitude(level, own)
            layer.add(fourier=spectrum, high_frequency=spectrum[:, -1])
        before = level


def _add_maps(state: Sequence[_Layer], tokens: Tokens, patch: int) -> bool:
    """Measures of the maps; False where they are not those of all patches with each other."""
    prefix, patches = tokens.prefix.shape[1], tokens.patches.shape[1]
    for layer, maps in zip(state, tokens.attention, strict=False):
        if maps.shape[-1] != maps.shape[-2] or maps.shape[-1] != prefix + patches or patches < 2:
            return False
        distance = attention_distance(maps, tokens.grid, patch, prefix)
        layer.add(
            head_distance=distance,
            attention_distance=distance.mean(1),  # [b], over heads
            attention_nmi=attention_nmi(maps, prefix).mean(1),
            head_similarity=head_similarity(maps, prefix),
        )
    return True


def _decay(values: Tensor) -> Tensor:
    """log10 of singular values [..., R] over the largest, not below -8, where rounding begins."""
    largest = values[..., :1].clamp(min=torch.finfo(values.dtype).tiny)
    return (values / largest).clamp(min=1e-8).log10()


def _finished(
    encoder: Encoder, state: Sequence[_Layer], cka: MinibatchCka, grid: tuple[int, int], count: int, windowed: bool
) -> Analysis:
    names = (*_OF_MAPS, "high_frequency", "token_similarity", "depth_similarity", "token_rank", "token_stable_rank")
    missing = torch.full((count,), torch.nan, dtype=torch.float64)
    found = {name: [layer.joined(name) for layer in state] for name in names}
    spectra = [singular_values(torch.cat(layer.pooled)) for layer in state]
    heads = [distance for layer in state if (distance := layer.joined("head_distance")) is not None]
    sums = [torch.as_tensor(layer.units).cpu() for layer in state]
    return Analysis(
        layers=(*map(str, range(encoder.depth)), "output"),
        images={
            name: torch.stack([missing if value is None else value for value in values])
            for name, values in found.items()
        },
        overall={
            "image_similarity": torch.stack([between_images(total, count) for total in sums]),
            "image_rank": torch.stack([effective_rank(values) for values in spectra]),
            "image_stable_rank": torch.stack([stable_rank(values) for values in spectra]),
        },
        heads=torch.stack([distance.mean(0) for distance in heads]) if heads else None,
        fourier=tuple(torch.empty(0) if (f := layer.joined("fourier")) is None else f.mean(0) for layer in state),
        token_values=tuple(torch.cat(layer.values["token_values"]).mean(0) for layer in state),
        image_values=tuple(_decay(values) for values in spectra),
        cka=cka.value().cpu(),
        uniform_distance=float(grid_distances(grid, encoder.patch).mean()),
        grid=grid,
        warnings=tuple(_warnings(encoder, state, spectra, grid, count, windowed)),
    )


def _warnings(
    encoder: Encoder,
    state: Sequence[_Layer],
    spectra: Sequence[Tensor],
    grid: tuple[int, int],
    count: int,
    windowed: bool,
) -> list[str]:
    width = state[-1].pooled[0].shape[1]
    names = (*map(str, range(encoder.depth)), "output")
    constant = [name for name, values in zip(names, spectra, strict=True) if not values.any()]
    mapped = windowed or any("head_distance" in layer.values for layer in state)
    checks = {
        "this encoder shows no attention maps: distance, NMI and heads are not measured": not mapped,
        "its attention is within windows or over merged tokens: distance, NMI and heads are not measured": windowed,
        f"the grid of {grid[0]} x {grid[1]} patches is not square: the spectrum is not measured": grid[0] != grid[1],
        f"{count} images spread in at most {count - 1} directions and a token has {width}: ranks over images "
        "compare only at equal numbers of images": count <= width,
        f"all images look the same to layers {', '.join(constant)}: their similarities mean nothing":
            bool(constant),
    }  # fmt: skip
    return [text for text, applies in checks.items() if applies]
