"""Synthetic scenes in the 14 bands of MODIS: three latent fields, mixed into bands with different units."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional

from mimgen.data.builtin.band_scaling import MODIS_TOA, BandScaling
from mimgen.data.contract import Sample
from mimgen.data.transforms.crops import resized_crops
from mimgen.errors import UserError
from mimgen.types import mix_seed

__all__ = ["BAND_SPLITS", "BandDataset", "open_bands"]

COUNTS = {"train": 4000, "val": 400}
BAND_SPLITS = (*COUNTS, "all")
SMALLEST = 8
COVERS = ("clear", "scattered", "broken", "overcast")
SURFACES = ("water", "vegetation", "desert")
_NAMES = {"cover": COVERS, "surface": SURFACES}
LEVELS = 8  # height layers of the cloud profile
_OPAQUE = 0.35  # optical depth above which a pixel counts as cloudy
_CROP = (0.67, 1.0)  # share of the area that a random crop keeps

# reflectance of water, vegetation and desert in bands 0 to 4 and 6, and of cloud there
_REFLECTED = (0, 1, 2, 3, 4, 6)
_GROUND = (
    (0.04, 0.02, 0.07, 0.05, 0.01, 0.01),
    (0.05, 0.42, 0.04, 0.08, 0.22, 0.30),
    (0.30, 0.38, 0.20, 0.26, 0.45, 0.50),
)
_CLOUD = (0.82, 0.80, 0.84, 0.83, 0.55, 0.65)
# emitting bands: share of what the surface emits that moisture swallows, from windows to water vapour
_EMITTED = (5, 7, 8, 9, 10, 11, 12, 13)
_SWALLOWED = (0.05, 0.95, 0.75, 0.12, 0.45, 0.05, 0.10, 0.60)


@dataclass(frozen=True)
class SceneLabels(Mapping[str, Tensor]):
    """Every label set of the scenes, each [n] int64; made once one is asked for, as that takes seconds.

    Asking whether a data set has labels must not sample thousands of scenes, and every run asks.

    Attributes:
        parts: splits and numbers of the scenes.
        size: side in pixels.
    """

    parts: tuple[tuple[str, int], ...]
    size: int

    def __getitem__(self, name: str) -> Tensor:
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(_NAMES)

    def __len__(self) -> int:
        return len(_NAMES)

    @cached_property
    def _made(self) -> dict[str, Tensor]:
        fields = (_fields(part, number, self.size) for part, number in self.parts)
        rows = [_labels(depth > _OPAQUE, kind) for _, _, depth, _, kind in fields]
        return {name: torch.tensor([row[name] for row in rows]) for name in _NAMES}


@dataclass(frozen=True)
class BandDataset:
    """Scenes made when they are read; see `contract.Dataset`.

    `Sample.image` is [14, size, size] float32, scaled by `scaling`; `extras["height"]` [1, size, size] is the height
    of the clouds' tops in 0..1, 0 where it is clear, and `extras["profile"]` [8, size] says in which layers there is
    cloud along the middle column, as a radar that flies over would see. The labels are "cover" and "surface".

    Attributes:
        size: side in pixels.
        parts: splits and numbers of the scenes.
        split: name of the split.
        scaling: of the bands.
        augments: whether a loader crops at random, two thirds to all of the area; height and profile are left out then.
    """

    size: int
    parts: tuple[tuple[str, int], ...]
    split: str
    scaling: BandScaling = MODIS_TOA
    augments: bool = True

    @property
    def name(self) -> str:
        return "bands" if self.split == "all" else f"bands/{self.split}"

    @property
    def fingerprint(self) -> str:
        facts = [self.size, self.parts, self.scaling, _GROUND, _CLOUD, _SWALLOWED]
        return hashlib.sha256(repr(facts).encode()).hexdigest()[:16]

    @property
    def label_names(self) -> dict[str, list[str]]:
        return {name: list(classes) for name, classes in _NAMES.items()}

    @property
    def captions(self) -> list[str]:
        return [""] * len(self)

    @property
    def splits(self) -> list[str]:
        return [part for part, _ in self.parts]

    @property
    def keys(self) -> list[str]:
        return [f"bands-{part}-{number:04d}" for part, number in self.parts]

    @property
    def labels(self) -> SceneLabels:
        """Every label set, each [n] int64."""
        return SceneLabels(self.parts, self.size)

    def __len__(self) -> int:
        return len(self.parts)

    def __getitem__(self, index: int) -> Sample:
        if not 0 <= index < len(self):
            raise IndexError(f"{self.name} holds {len(self)} scenes; there is no number {index}")
        part, number = self.parts[index]
        surface, height, depth, moisture, kind = _fields(part, number, self.size)
        cloudy = depth > _OPAQUE
        extras = {"height": (height * cloudy)[None], "profile": _profile(height, cloudy)}
        bands = _bands(surface, height, depth, moisture)
        return Sample(self.scaling(bands), "", _labels(cloudy, kind), f"bands-{part}-{number:04d}", extras=extras)

    def sample(self, index: int, generator: torch.Generator) -> Sample:
        """Scene `index`, cropped at random and resized, never mirrored."""
        plain = self[index]
        uniform = torch.rand(1, 5, generator=generator)
        uniform[:, 4] = 1.0
        cut = resized_crops(plain.image[None], uniform, self.size, _CROP)[0]
        return replace(plain, image=cut, extras={})


def open_bands(size: int = 32, split: str | None = None) -> BandDataset:
    """The scenes, the same everywhere: 4000 to train on, 400 of val.

    Args:
        size: side in pixels, at least 8.
        split: "train", "val" or "all"; None means "all".

    Raises:
        UserError: a size or split that does not exist.
    """
    chosen = split or "all"
    if chosen not in BAND_SPLITS:
        raise UserError(f"bands have no split {split!r}; choose from {', '.join(BAND_SPLITS)}")
    if size < SMALLEST:
        raise UserError(f"size {size}: scenes of bands need {SMALLEST} pixels or more")
    parts = [(part, number) for part in COUNTS if chosen in ("all", part) for number in range(COUNTS[part])]
    return BandDataset(size, tuple(parts), chosen)


def _fields(part: str, number: int, size: int) -> tuple[Tensor, Tensor, Tensor, Tensor, int]:
    """Surface [3, h, w] shares, height, optical depth and moisture [h, w] in 0..1, and the commonest surface."""
    generator = torch.Generator().manual_seed(mix_seed("bands", part, number))
    noise = _smooth(6, size, generator)
    surface = (6 * noise[:3]).softmax(0)
    cover = torch.rand((), generator=generator) * 1.6 - 0.6
    depth = (1.2 * (noise[4] + cover)).clamp(0, 1)
    height = (0.15 + 0.85 * noise[3].sigmoid() * noise[4].sigmoid() * 1.5).clamp(0.1, 1)
    return surface, height, depth, noise[5].sigmoid(), int(surface.mean((1, 2)).argmax())


def _labels(cloudy: Tensor, kind: int) -> dict[str, int]:
    """The labels of a scene from where it is cloudy [h, w] and its commonest surface."""
    return {"cover": min(3, int(4 * cloudy.float().mean())), "surface": kind}


def _smooth(count: int, size: int, generator: torch.Generator) -> Tensor:
    """[count, size, size] of normal numbers on a coarse grid, interpolated, with finer ones on top."""
    coarse, fine = (
        functional.interpolate(torch.randn(1, count, n, n, generator=generator), (size, size), mode="bicubic")[0]
        for n in (3, 9)
    )
    return coarse + 0.3 * fine


def _bands(surface: Tensor, height: Tensor, depth: Tensor, moisture: Tensor) -> Tensor:
    """[14, h, w] in the units of the instrument: per cent reflected, kelvin emitted."""
    ground = torch.einsum("shw,sb->bhw", surface, torch.tensor(_GROUND))
    reflected = 100 * (ground + depth * (torch.tensor(_CLOUD)[:, None, None] - ground))
    warm = 285 + 20 * surface[2] - 8 * surface[0]
    observed = warm - 75 * height * depth
    swallowed = torch.tensor(_SWALLOWED)[:, None, None] * (0.5 + 0.5 * moisture)
    emitted = observed + swallowed * (235 - observed)
    bands = torch.empty(14, *depth.shape)
    bands[list(_REFLECTED)], bands[list(_EMITTED)] = reflected, emitted
    low, high = (torch.tensor(side)[:, None, None] for side in (MODIS_TOA.low, MODIS_TOA.high))
    return bands.maximum(low).minimum(high)


def _profile(height: Tensor, cloudy: Tensor) -> Tensor:
    """[8, h] 0 or 1: layers from the lowest up, with cloud from half of its top's height, down the middle column."""
    column = height.shape[1] // 2
    top, there = height[:, column] * LEVELS, cloudy[:, column]
    layer = torch.arange(LEVELS)[:, None]
    return ((layer < top) & (layer + 1 > top / 2) & there).float()
