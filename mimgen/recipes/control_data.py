"""Data for controls: what is left of a method's gain when its data lack what it is said to use."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, cast

from mimgen.data import BandScaling, Dataset, Sample
from mimgen.data.contract import DerivedDataset
from mimgen.recipes.data_config import DataConfig

__all__ = ["MismatchedPairs", "UnscaledBands", "mismatched_pairs", "unscaled"]


@dataclass(frozen=True)
class _SecondViewOfAnother(DerivedDataset):
    """Pairs whose second view is of another scene."""

    def __getitem__(self, index: int) -> Sample:
        sample, other = self.dataset[index], self.dataset[(index + 1) % len(self.dataset)]
        return replace(sample, extras={**sample.extras, "second": other.extras["second"]})


class MismatchedPairs(DataConfig):
    """Pairs for training, in which the second view is of another scene; other splits are as they are."""

    def open(self) -> Dataset:
        """Open the data."""
        data = cast(Dataset, super().open())
        return _SecondViewOfAnother(data) if self.split == "train" else data


class UnscaledBands(DataConfig):
    """Scenes of bands in the units of the instrument, per cent and kelvin."""

    def open(self) -> Dataset:
        """Open the data."""
        data: Any = super().open()
        count = len(data.scaling.low)
        return cast(Dataset, replace(data, scaling=BandScaling((0.0,) * count, (1.0,) * count)))


def mismatched_pairs(data: DataConfig) -> DataConfig:
    """The same pairs, each scene with the second view of another."""
    return MismatchedPairs(**{each.name: getattr(data, each.name) for each in fields(data)})


def unscaled(data: DataConfig) -> DataConfig:
    """The same bands, in per cent and kelvin."""
    return UnscaledBands(**{each.name: getattr(data, each.name) for each in fields(data)})
