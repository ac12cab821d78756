"""Volumes of your own: a folder of .npy or NIfTI files, with a segmentation of each where there is one."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from mimgen.data.builtin.phantoms import PhantomDataset, open_phantoms
from mimgen.data.contract import Sample
from mimgen.errors import UserError

__all__ = ["VolumeFolder", "open_volumes", "read_volume"]

ENDINGS = (".nii.gz", ".nii", ".npy")
# names of the two folders of a segmented set; the second pair is that of the Medical Segmentation Decathlon
_PAIRS = (("images", "labels"), ("imagesTr", "labelsTr"))


@dataclass(frozen=True)
class VolumeFolder:
    """Cubes cut from volumes on disk; see `contract.Dataset` and `contract.Augmented`.

    A sample's image is [C, S, S, S] float32; where there is a segmentation, its extra "segmentation" is
    [S, S, S] int64.

    Attributes:
        name: the folder.
        paths: files of the volumes.
        segmentations: files of the same names, None where there is none.
        size: S, side of the cubes; smaller volumes are padded with their smallest value.
        window: values that become 0 and 1, those beyond are clipped; None takes values as they are.
        spacing: side of a voxel in millimetres that NIfTI volumes are resampled to; None leaves them.
        augments: whether a loader's cubes lie anywhere; else they lie in the centre.
    """

    name: str
    paths: Sequence[Path]
    segmentations: Sequence[Path | None]
    size: int
    window: tuple[float, float] | None = None
    spacing: float | None = None
    augments: bool = False
    label_names: dict[str, list[str]] = field(default_factory=dict)

    @property
    def fingerprint(self) -> str:
        """Hash of names, sizes and settings."""
        files = [(path.name, path.stat().st_size) for path in self.paths]
        facts = repr((files, self.size, self.window, self.spacing, self.augments))
        return hashlib.sha256(facts.encode()).hexdigest()[:16]

    @property
    def captions(self) -> list[str]:
        """Empty strings: volumes have none."""
        return [""] * len(self)

    @property
    def labels(self) -> Mapping[str, Tensor]:
        """None: what volumes have are segmentations."""
        return {}

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Sample:
        """The cube in the centre of volume `index`."""
        return self._cube(index, None)

    def sample(self, index: int, generator: torch.Generator) -> Sample:
        """A cube of volume `index` at a random place."""
        return self._cube(index, generator)

    def _cube(self, index: int, generator: torch.Generator | None) -> Sample:
        if not 0 <= index < len(self):
            raise IndexError(f"{self.name} holds {len(self)} volumes; there is no number {index}")
        volume = read_volume(self.paths[index], self.spacing)
        if self.window is not None:
            low, high = self.window
            volume = ((volume - low) / (high - low)).clamp(0, 1)
        free = [max(0, side - self.size) for side in volume.shape[1:]]
        corner = [
            side // 2 if generator is None else int(torch.randint(side + 1, (), generator=generator)) for side in free
        ]
        extras, path = {}, self.segmentations[index]
        if path is not None:
            classes = read_volume(path, self.spacing, smooth=False)
            if classes.shape[1:] != volume.shape[1:]:
                raise UserError(
                    f"{path} has sides {list(classes.shape[1:])} and {self.paths[index].name} has "
                    f"{list(volume.shape[1:])}: give one class for each voxel"
                )
            extras["segmentation"] = cube(classes, corner, self.size, 0.0)[0].round().long()
        image = cube(volume, corner, self.size, float(volume.min()))
        return Sample(image=image, caption="", key=_stem(self.paths[index]), extras=extras)


def open_volumes(
    spec: str = "volumes",
    size: int = 32,
    split: str | None = None,
    *,
    window: tuple[float, float] | None = None,
    spacing: float | None = None,
    random_crop: bool = False,
) -> PhantomDataset | VolumeFolder:
    """Open volumes of any kind.

    Args:
        spec: "volumes" for the built-in phantoms, or a folder of .npy ([S1, S2, S3] or [C, S1, S2, S3]), .nii or
            .nii.gz files; or one with the folders images/ and labels/ of equally named files.
        size: side of the cubes in voxels.
        split: "train" or "val" of the phantoms, or the name of a sub-folder; None for all.
        window: values that become 0 and 1, in Hounsfield units for CT; None takes values as they are.
        spacing: side of a voxel in millimetres that NIfTI volumes are resampled to; None leaves them.
        random_crop: cut anywhere instead of in the centre when a loader reads (own volumes only).

    Raises:
        UserError: no such folder or split, no volumes in it, or a window or size without extent.
    """
    if spec == "volumes":
        return open_phantoms(size, split)
    root = Path(spec).expanduser() / (split if split not in (None, "all") else "")
    if not root.is_dir():
        raise UserError(f"no volumes at {root}: give volumes (the built-in ones), or a folder of .npy or .nii.gz files")
    if size < 1 or (window is not None and window[0] >= window[1]) or (spacing is not None and spacing <= 0):
        raise UserError(f"size {size}, window {window} and spacing {spacing} must have an extent")
    images, labels = root, {}
    for first, second in _PAIRS:
        if (root / first).is_dir():
            images, labels = root / first, {_stem(path): path for path in _listed(root / second)}
    paths = _listed(images)
    if not paths:
        raise UserError(f"{images} holds no volumes: put files there that end in {', '.join(ENDINGS)}")
    found = [labels.get(_stem(path)) for path in paths]
    return VolumeFolder(root.name, paths, found, size, window, spacing, random_crop)


def read_volume(path: Path, spacing: float | None = None, *, smooth: bool = True) -> Tensor:
    """A file as [C, S1, S2, S3] float32.

    Args:
        path: .npy, .nii or .nii.gz.
        spacing: side of a voxel in millimetres that a NIfTI volume is resampled to.
        smooth: resample trilinearly; else the nearest voxel is taken, as classes must be.

    Raises:
        UserError: the file cannot be read, is no volume, or nibabel is missing.
    """
    import numpy as np

    if path.name.endswith(".npy"):
        try:
            values, zooms = np.load(path, allow_pickle=False), None
        except (OSError, ValueError) as error:
            raise UserError(f"{path} is not a .npy file of numbers ({error})") from error
    else:
        values, zooms = _nifti(path)
    if values.ndim not in (3, 4):
        raise UserError(f"{path} has shape {list(values.shape)}: a volume has 3 sides, and maybe channels in front")
    volume = torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))
    volume = volume if volume.ndim == 4 else volume[None]
    if spacing is None or zooms is None:
        return volume
    sides = [max(1, round(side * zoom / spacing)) for side, zoom in zip(volume.shape[1:], zooms, strict=True)]
    if smooth:
        return F.interpolate(volume[None], sides, mode="trilinear", align_corners=False)[0]
    return F.interpolate(volume[None], sides, mode="nearest-exact")[0]


def cube(volume: Tensor, corner: Sequence[int], size: int, fill: float) -> Tensor:
    """[C, S1, S2, S3] to [C, size, size, size] from a corner; short sides are filled up on both ends."""
    first, second, third = (slice(start, start + size) for start in corner)
    part = volume[:, first, second, third]
    missing = [size - side for side in part.shape[1:]]
    padding = [end for short in reversed(missing) for end in (short // 2, short - short // 2)]
    return F.pad(part, padding, value=fill)


def _nifti(path: Path) -> tuple[Any, tuple[float, ...]]:
    """Values, channels in front, and the sides of a voxel in millimetres."""
    import numpy as np

    try:
        import nibabel
    except ImportError:
        raise UserError(f"{path.name} needs nibabel: pip install nibabel, or save the volumes as .npy") from None
    try:
        image = nibabel.load(path)
        values = np.asarray(image.dataobj, dtype=np.float32)
    except (OSError, ValueError, EOFError, nibabel.filebasedimages.ImageFileError) as error:
        raise UserError(f"{path} is not a readable NIfTI file ({error})") from error
    values = np.moveaxis(values, -1, 0) if values.ndim == 4 else values
    return values, tuple(float(zoom) for zoom in image.header.get_zooms()[:3])


def _listed(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.name.endswith(ENDINGS) and not path.name.startswith("."))


def _stem(path: Path) -> str:
    """Name without its ending, of which .nii.gz is one."""
    return next(path.name.removesuffix(ending) for ending in ENDINGS if path.name.endswith(ending))
