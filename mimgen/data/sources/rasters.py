"""One's own rasters of many bands: folders of .npy arrays or GeoTIFF files."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from mimgen.data.builtin.band_scaling import BandScaling
from mimgen.data.contract import Sample
from mimgen.data.sources.listing import Listing, digest
from mimgen.errors import UserError

__all__ = ["RASTER_SUFFIXES", "RasterDataset", "open_rasters"]

RASTER_SUFFIXES = (".npy", ".tif", ".tiff")
SCALING = "bands.json"
_MEASURED = 64  # rasters whose ranges stand for all, where no file gives them
_TAILS = (0.005, 0.995)
_SMALLEST_SHARE = 0.67  # of the area, of a random crop
_ASPECT = math.log(4 / 3)


class RasterDataset:
    """Rasters read when they are asked for; see `contract.Dataset`.

    `Sample.image` is [C, size, size] float32, scaled; missing values (not a number) are the mean of their band.

    Args:
        listing: what there is.
        size: side in pixels.
        scaling: of the bands.
        augments: whether a loader crops at random: 67 to 100 % of the area, aspect 3/4 to 4/3.
    """

    def __init__(self, listing: Listing, size: int, scaling: BandScaling, augments: bool = True) -> None:
        self.listing, self.size, self.scaling, self.augments = listing, size, scaling, augments
        self.name, self.keys, self.captions = listing.name, listing.keys, listing.captions
        self.fingerprint = digest([listing.digest, size, scaling])
        self.label_names: dict[str, list[str]] = {}
        self.labels: dict[str, Tensor] = {}

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, index: int) -> Sample:
        raster = self._read(index)
        side = min(raster.shape[1:])
        top, left = (raster.shape[1] - side) // 2, (raster.shape[2] - side) // 2
        return self._sample(index, raster[:, top : top + side, left : left + side])

    def sample(self, index: int, generator: torch.Generator) -> Sample:
        """Raster `index`, cropped at random."""
        raster = self._read(index)
        height, width = raster.shape[1:]
        area, aspect, down, right = torch.rand(4, generator=generator).tolist()
        area = height * width * (_SMALLEST_SHARE + (1 - _SMALLEST_SHARE) * area)
        ratio = math.exp(_ASPECT * (2 * aspect - 1))
        rows = max(1, min(height, round(math.sqrt(area / ratio))))
        columns = max(1, min(width, round(math.sqrt(area * ratio))))
        top, left = round(down * (height - rows)), round(right * (width - columns))
        return self._sample(index, raster[:, top : top + rows, left : left + columns])

    def _sample(self, index: int, raster: Tensor) -> Sample:
        size = (self.size, self.size)
        resized = functional.interpolate(raster[None], size, mode="bicubic", antialias=True, align_corners=False)[0]
        return Sample(self.scaling(resized), self.captions[index], key=self.keys[index])

    def _read(self, index: int) -> Tensor:
        if not 0 <= index < len(self):
            raise IndexError(f"{self.name} holds {len(self)} rasters; there is no number {index}")
        raster = _decoded(self.keys[index], self.listing.read(index))
        if len(raster) != len(self.scaling.low):
            raise UserError(
                f"{self.name}: {self.keys[index]} has {len(raster)} bands and others have {len(self.scaling.low)}: "
                "keep rasters of one kind in a folder"
            )
        return _completed(raster)


def open_rasters(folder: str | Path, size: int, split: str | None = None) -> RasterDataset:
    """The rasters below a folder.

    Args:
        folder: of .npy arrays, [C, H, W] or [H, W, C] with the bands as the shortest side, or of GeoTIFF files (needs
            rasterio). A file bands.json with the lists "low" and "high" says how values become 0 to 1; without it,
            the ranges of 99 % of the values of the first 64 rasters do.
        size: side in pixels.
        split: "train", "val" (5 %) or "all"; None means "all".

    Raises:
        UserError: no rasters, files that cannot be read, or a bands.json that does not fit.
    """
    folder = Path(folder).expanduser()
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in RASTER_SUFFIXES)
    if not paths:
        raise UserError(f"{folder} holds no rasters; put {', '.join(RASTER_SUFFIXES)} files there")
    keys = [path.relative_to(folder).as_posix() for path in paths]
    listing = Listing(
        name=str(folder),
        keys=keys,
        captions=[""] * len(paths),
        read=lambda index: paths[index].read_bytes(),
        digest=digest(part for key, path in zip(keys, paths, strict=True) for part in (key, path.stat().st_size)),
    )
    # ranges are those of all rasters, so that every split is scaled alike
    return RasterDataset(listing.split(split), size, _scaling(folder, listing))


def _scaling(folder: Path, listing: Listing) -> BandScaling:
    """The ranges of bands.json, or measured ones."""
    path = folder / SCALING
    if path.is_file():
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            return BandScaling(tuple(map(float, content["low"])), tuple(map(float, content["high"])))
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f'{path} must be {{"low": [...], "high": [...]}}, one number a band: {error}') from error
    step = max(1, len(listing.keys) // _MEASURED)
    chosen = range(0, len(listing.keys), step)
    return _ranges([_completed(_decoded(listing.keys[index], listing.read(index))) for index in chosen][:_MEASURED])


def _ranges(rasters: Sequence[Tensor]) -> BandScaling:
    """The range of 99 % of each band's values."""
    import numpy as np

    values = np.concatenate([raster.flatten(1).numpy() for raster in rasters], axis=1)
    low, high = np.quantile(values, _TAILS, axis=1)
    # a band that never changes has no range
    high = np.where(high > low, high, low + 1)
    return BandScaling(tuple(low.tolist()), tuple(high.tolist()))


def _decoded(key: str, content: bytes) -> Tensor:
    """[C, H, W] float32 of a file.

    Raises:
        UserError: it cannot be read, is no raster, or rasterio is missing.
    """
    import numpy as np

    if key.lower().endswith(".npy"):
        try:
            array = np.load(io.BytesIO(content), allow_pickle=False)
        except (ValueError, OSError, EOFError) as error:
            raise UserError(f"{key} is not a .npy array of numbers ({error})") from error
    else:
        array = _geotiff(key, content)
    if array.ndim != 3:
        raise UserError(f"{key} has the shape {list(array.shape)}: rasters are [bands, rows, columns]")
    raster = torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))
    last = raster.shape[2] < min(raster.shape[:2])
    return raster.permute(2, 0, 1).contiguous() if last else raster


def _geotiff(key: str, content: bytes) -> Any:
    try:
        from rasterio.io import MemoryFile
    except ImportError:
        raise UserError(f"{key}: GeoTIFF files need rasterio; `pip install rasterio`, or store .npy arrays") from None
    with MemoryFile(content) as file, file.open() as loaded:
        return loaded.read(masked=True).astype("float32").filled(float("nan"))


def _completed(raster: Tensor) -> Tensor:
    """Missing values as the mean of their band, 0 where all of a band is missing."""
    missing = ~raster.isfinite()
    if not bool(missing.any()):
        return raster
    known = raster.masked_fill(missing, 0)
    mean = known.sum((1, 2), keepdim=True) / (~missing).sum((1, 2), keepdim=True).clamp(min=1)
    return torch.where(missing, mean, raster)
