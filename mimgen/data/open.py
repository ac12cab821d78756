"""One argument for every kind of data."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from mimgen.data.builtin.bands import open_bands
from mimgen.data.builtin.digits import open_digits
from mimgen.data.builtin.emoji import open_emoji
from mimgen.data.builtin.figures import open_figures
from mimgen.data.builtin.parallax import open_parallax
from mimgen.data.builtin.photos import open_photos
from mimgen.data.builtin.scenes import open_scenes
from mimgen.data.contract import Dataset, StreamedDataset
from mimgen.data.sources.folders import list_folder
from mimgen.data.sources.images import ImageDataset
from mimgen.data.sources.listing import Listing
from mimgen.data.sources.pairs import is_pairs, open_pairs
from mimgen.data.sources.rasters import open_rasters
from mimgen.data.sources.shards import expand_braces, list_shards
from mimgen.data.sources.stream import ShardStream, is_streamed
from mimgen.data.sources.tables import is_saved_dataset, list_parquet, list_saved
from mimgen.data.transforms.resize import Transform
from mimgen.errors import UserError
from mimgen.files import path_like

__all__ = ["BUILT_IN", "open_data", "training_split"]

Opener = Callable[[int, str | None], Dataset]

# what is inside, and why its images are not cropped or flipped at random
_BUILT_IN: dict[str, tuple[Opener, str]] = {
    "emoji": (open_emoji, "clocks, flags and arrows would change"),
    "photos": (open_photos, "they are a fixed list of crops"),
    "digits": (open_digits, "a mirrored digit is none"),
    "scenes": (open_scenes, "their captions say where things are"),
    "parallax": (open_parallax, "both views of a scene belong together"),
    "figures": (open_figures, "they crop by themselves, with their joints"),
    "bands": (open_bands, "they crop by themselves"),
}
BUILT_IN = tuple(_BUILT_IN)
RASTERS = "rasters:"  # before the path of a folder of many-band rasters: a .tif may be an image as well


def open_data(
    spec: str, *, size: int, split: str | None = None, random_crop: bool = False, flip: bool = False
) -> Dataset | StreamedDataset:
    """Open a data set of any kind.

    Args:
        spec: "emoji", "photos" (crops of the photographs in scikit-image and scikit-learn), "digits"
            (of scikit-learn), "scenes" (synthetic shapes whose captions can be checked), "parallax" (two
            views of synthetic scenes), "figures" (synthetic people with joints), "bands" (synthetic scenes of 14
            bands), "rasters:FOLDER" (.npy or GeoTIFF of any number of bands), or the path of a folder
            (with captions, with a folder per class, plain, of pairs in a/ and b/, of shards, of parquet
            files or saved by Hugging Face datasets), of a .parquet file, or of shards as
            "name-{000..099}.tar". These can be read in any order. A URL, "pipe:command" or
            "stream:" before local shards is read from front to back: a `StreamedDataset`.
        size: side of the square images in pixels.
        split: "train", "val", "all" or, for emoji only, "compose"; None means "all".
        random_crop: crop anywhere instead of in the centre when a loader reads (own data only).
        flip: mirror half of the images when a loader reads (own data only).

    Raises:
        UserError: the data does not exist, is empty or is not in a known form; the message says
            what to mend.
    """
    transform = Transform(size, random_crop=random_crop, flip=flip)
    if is_streamed(spec):
        if split not in (None, "all", "train"):
            raise UserError(f"{spec} is streamed and has no split {split!r}; keep shards apart for it")
        return ShardStream(spec, transform)
    if spec in _BUILT_IN:
        opener, reason = _BUILT_IN[spec]
        if transform.augments:
            raise UserError(f"{spec} are not cropped or flipped ({reason}): leave out random_crop and flip")
        return opener(size, split)
    if spec.startswith(RASTERS):
        if transform.augments:
            raise UserError("rasters are cropped and flipped by no flag of ours: leave out random_crop and flip")
        return open_rasters(spec.removeprefix(RASTERS), size, split)
    folder = Path(spec).expanduser()
    if is_pairs(folder):
        return open_pairs(folder, size=size, split=split, random_crop=random_crop, flip=flip)
    return ImageDataset(_list(spec, split), transform)


def training_split(spec: str) -> str | None:
    """The split to train on where none is asked for: "train" of built-in data, else everything (None)."""
    return "train" if spec in BUILT_IN else None


def _list(spec: str, split: str | None) -> Listing:
    """See what kind of data lies at a path and list it."""
    files = [Path(name).expanduser() for name in expand_braces(spec)]
    path = files[0]
    if len(files) > 1 and path.suffix != ".parquet":
        return list_shards(spec, files).split(split)
    if len(files) == 1 and not path.exists():
        raise UserError(f"no data at {spec}{_near_miss(path)}")
    if path.suffix == ".parquet":
        return list_parquet(spec, files).split(split)
    if path.is_file():
        if path.suffix != ".tar":
            raise UserError(f"{spec} is one file; pass a folder, a .parquet file or .tar shards")
        return list_shards(spec, files).split(split)
    if is_saved_dataset(path):
        return list_saved(path, split)
    for pattern, lister in (("*.tar", list_shards), ("*.parquet", list_parquet)):
        inside = sorted(path.glob(pattern))
        if inside:
            return lister(spec, inside).split(split)
    return list_folder(path).split(split)


def _near_miss(path: Path) -> str:
    """What to try where no data lie: a name that is nearly this one, or the kinds of sources there are."""
    if near := path_like(path, BUILT_IN):
        return near
    if not path.parent.is_dir():
        return f"; {path.parent} does not exist either"
    return f"; pass one of {', '.join(BUILT_IN)}, or the path of a folder, of a .parquet file or of .tar shards"
