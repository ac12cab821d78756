"""Where a run's volumes come from."""

from __future__ import annotations

from dataclasses import dataclass

from mimgen.data import Dataset, StreamedDataset
from mimgen.data.sources.volumes import open_volumes
from mimgen.recipes.data_config import DataConfig


@dataclass(frozen=True)
class Volumes(DataConfig):
    """Volumes in the place of images.

    Attributes:
        spec: "volumes" (built-in phantoms) or a folder; see `mimgen.data.sources.volumes.open_volumes`.
        size: side of the cubes in voxels.
        split: None takes "train" of the built-in phantoms and everything of other data.
        window: values of own volumes that become 0 and 1; None takes them as they are.
        spacing: side of a voxel in millimetres that NIfTI volumes are resampled to.
    """

    window: tuple[float, float] | None = None
    spacing: float | None = None

    def open(self) -> Dataset | StreamedDataset:
        """Open the data; cubes of own volumes lie anywhere."""
        split = self.split or ("train" if self.spec == "volumes" else None)
        return open_volumes(
            self.spec, self.size, split, window=self.window, spacing=self.spacing, random_crop=True
        )
