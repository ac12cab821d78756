"""One argument for every kind of data."""

from __future__ import annotations

import difflib
from pathlib import Path

from mimgen.data.contract import Dataset, StreamedDataset
from mimgen.data.digits import open_digits
from mimgen.data.emoji import open_emoji
from mimgen.data.folders import list_folder
from mimgen.data.listing import Listing
from mimgen.data.photos import open_photos
from mimgen.data.pictures import PictureDataset
from mimgen.data.scenes import open_scenes
from mimgen.data.shards import expand_braces, list_shards
from mimgen.data.stream import ShardStream, is_streamed
from mimgen.data.tables import is_saved_dataset, list_parquet, list_saved
from mimgen.data.transforms import Transform
from mimgen.errors import UserError

__all__ = ["BUILT_IN", "open_data", "training_split"]

BUILT_IN = ("emoji", "photos", "digits", "scenes")


def open_data(
    spec: str, *, size: int, split: str | None = None, random_crop: bool = False, flip: bool = False
) -> Dataset | StreamedDataset:
    """Open a data set of any kind.

    Args:
        spec: "emoji", "photos" (crops of the photographs in scikit-image and scikit-learn), "digits"
           (of scikit-learn), "scenes" (drawn shapes whose captions can be checked), or the
            path of a folder (with captions, with a folder per class, plain, of shards, of parquet
            files or saved by Hugging Face datasets), of a .parquet file, or of shards as
            "name-{000..099}.tar". These can be read in any order. A URL, "pipe:command" or
            "stream:" before local shards is read from front to back: a `StreamedDataset`.
        size: side of the square pictures in pixels.
        split: "train", "val", "all" or, for emoji only, "compose"; None means "all".
        random_crop: crop anywhere instead of in the centre when a loader reads (own data only).
        flip: mirror half of the pictures when a loader reads (own data only).

    Raises:
        UserError: the data does not exist, is empty or is not in a known form; the message says
            what to mend.
    """
    transform = Transform(size, random_crop=random_crop, flip=flip)
    if is_streamed(spec):
        if split not in (None, "all", "train"):
            raise UserError(f"{spec} is streamed and has no split {split!r}; keep shards apart for it")
        return ShardStream(spec, transform)
    if spec == "emoji":
        if transform.augments:
            raise UserError("emoji are not cropped or flipped: clocks, flags and arrows would change")
        return open_emoji(size, split)
    if spec == "digits":
        if transform.augments:
            raise UserError("digits are not cropped or flipped: leave out random_crop and flip")
        return open_digits(size, split)
    if spec == "scenes":
        if transform.augments:
            raise UserError("scenes are not cropped or flipped: their captions say where things are")
        return open_scenes(size, split)
    if spec == "photos":
        if transform.augments:
            raise UserError("photos are a fixed list of crops: leave out random_crop and flip")
        return open_photos(size, split)
    return PictureDataset(_list(spec, split), transform)


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
    """ "; did you mean ...?" where a sibling has nearly this name."""
    siblings = [item.name for item in path.parent.iterdir()] if path.parent.is_dir() else []
    close = difflib.get_close_matches(path.name, siblings, n=1)
    if close:
        return f"; did you mean {path.parent / close[0]}?"
    close = difflib.get_close_matches(str(path), BUILT_IN, n=1)
    if close:
        return f"; did you mean {close[0]}?"
    if not path.parent.is_dir():
        return f"; {path.parent} does not exist either"
    return "; pass emoji, photos, digits or scenes, or the path of a folder, of a .parquet file or of .tar shards"
