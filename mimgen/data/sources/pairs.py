"""Two images of one scene: folders of pairs, for training that compares views (CroCo)."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import torch

from mimgen.data.contract import Sample
from mimgen.data.sources.decode import IMAGE_SUFFIXES, CorruptImage, decode_image
from mimgen.data.sources.images import ImageDataset
from mimgen.data.sources.listing import Listing, digest
from mimgen.data.transforms.resize import Transform
from mimgen.errors import UserError

__all__ = ["PairDataset", "is_pairs", "open_pairs"]

FIRST, SECOND = "a", "b"

logger = logging.getLogger(__name__)


class PairDataset(ImageDataset):
    """Pairs `a/<name>` and `b/<name>` of a folder; the second image is `Sample.extras["second"]`.

    Both are cut at the same place and mirrored together, or their geometry would be lost.

    Args:
        listing: the first images; their keys are the names.
        folder: that holds `b`.
        transform: how both become squares.
    """

    def __init__(self, listing: Listing, folder: Path, transform: Transform) -> None:
        self.folder = folder
        super().__init__(listing, transform)

    def _sample(self, index: int, generator: torch.Generator | None) -> Sample:
        before = None if generator is None else generator.get_state()
        while True:
            first = super()._sample(index, generator)
            if generator is not None and before is not None:
                generator.set_state(before)
            try:
                image = decode_image((self.folder / SECOND / first.key).read_bytes())
            except (CorruptImage, OSError) as error:
                # the next good pair stands in, as for any corrupt image
                self.corrupt[first.key] = str(error)
                logger.warning("%s: second image of %s skipped: %s", self.name, first.key, error)
                continue
            return replace(first, extras={"second": self.transform(image, generator).image})


def is_pairs(folder: Path) -> bool:
    """Whether a folder holds the two folders `a` and `b` and nothing else but hidden files."""
    if not folder.is_dir():
        return False
    names = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
    return names == [FIRST, SECOND] and all((folder / name).is_dir() for name in names)


def open_pairs(
    folder: str | Path, *, size: int, split: str | None = None, random_crop: bool = False, flip: bool = False
) -> PairDataset:
    """Open a folder of pairs.

    Args:
        folder: holds `a` and `b` with images of the same names.
        size: side of the square images in pixels.
        split: "train", "val" or "all"; None means "all".
        random_crop: crop anywhere, both alike, instead of in the centre when a loader reads.
        flip: mirror half of the pairs when a loader reads.

    Raises:
        UserError: no such folders, no images, or an image without its partner.
    """
    folder = Path(folder)
    names = [_names(folder / part) for part in (FIRST, SECOND)]
    alone = sorted(set(names[0]) ^ set(names[1]))
    if alone:
        raise UserError(
            f"{folder}: {len(alone)} images are in only one of {FIRST}/ and {SECOND}/, for example "
            f"{', '.join(alone[:3])}; give both views of a scene the same name"
        )
    if not names[0]:
        raise UserError(f"{folder}/{FIRST} holds no images; put .png, .jpg or .webp files there and into {SECOND}/")
    sizes = [(folder / part / name).stat().st_size for part in (FIRST, SECOND) for name in names[0]]
    listing = Listing(
        name=str(folder),
        keys=names[0],
        captions=[""] * len(names[0]),
        read=lambda index: (folder / FIRST / names[0][index]).read_bytes(),
        digest=digest(["pairs", *names[0], *sizes]),
    )
    return PairDataset(listing.split(split), folder, Transform(size, random_crop=random_crop, flip=flip))


def _names(folder: Path) -> list[str]:
    if not folder.is_dir():
        raise UserError(f"{folder} does not exist: a folder of pairs holds {FIRST}/ and {SECOND}/")
    paths = (path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES)
    return sorted(path.relative_to(folder).as_posix() for path in paths)
