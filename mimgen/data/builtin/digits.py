"""scikit-learn's handwritten digits as a data set: a second, quite different one without a download."""

from __future__ import annotations

import gzip
import hashlib
import importlib.util
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from mimgen.data.memory import MemoryDataset
from mimgen.errors import UserError

__all__ = ["DIGIT_SPLITS", "open_digits"]

DIGIT_SPLITS = ("train", "val", "all")
SIDE = 8
BRIGHTEST = 16
# The file is not in random order: neighbours look alike, as they come from one writer. A shuffled
# split would put near copies on both sides, so the last quarter is held out as it stands.
HELD_OUT = 0.25
WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


@dataclass(frozen=True)
class _Stored:
    """Images [n, 8, 8] uint8 from 0 to 16, digits [n] int64 and a hash of the file."""

    images: Tensor
    digits: Tensor
    digest: str


def open_digits(size: int = 64, split: str | None = None) -> MemoryDataset:
    """1,797 handwritten digits, stored at 8 x 8 pixels, white on black, labelled "digit".

    They are the test part of "Optical Recognition of Handwritten Digits" (Alpaydin & Kaynak 1998,
    UCI repository), which scikit-learn carries.

    Args:
        size: side in pixels; the 8 x 8 pixels are interpolated (bicubic, antialiased when smaller).
        split: "train" (the first 1,348), "val" (the last 449) or "all"; None means "all".

    Raises:
        UserError: a size or split that does not exist, or scikit-learn is missing.
    """
    if size < 1:
        raise UserError(f"size {size} is not positive; pass the side of the images, for example 64")
    chosen = split or "all"
    if chosen not in DIGIT_SPLITS:
        raise UserError(f"digits have no split {split!r}; choose from {', '.join(DIGIT_SPLITS)}")
    stored = _stored()
    total = len(stored.digits)
    first = total - int(HELD_OUT * total)
    rows = {"train": range(first), "val": range(first, total), "all": range(total)}[chosen]
    digits = stored.digits[rows.start : rows.stop]
    return MemoryDataset(
        name="digits" if chosen == "all" else f"digits/{chosen}",
        fingerprint=hashlib.sha256(f"{stored.digest}/{chosen}/{size}".encode()).hexdigest()[:16],
        images=_resize(stored.images[rows.start : rows.stop], size),
        captions=[f"handwritten digit {WORDS[digit]}" for digit in digits.tolist()],
        keys=[f"digit-{row:04d}" for row in rows],
        labels={"digit": digits},
        label_names={"digit": list(WORDS)},
        splits=["train" if row < first else "val" for row in rows],
    )


@cache
def _stored() -> _Stored:
    """Read the file; once per process."""
    import numpy as np

    # scikit-learn is found but not imported: its file is all that is wanted of it
    spec = importlib.util.find_spec("sklearn")
    roots = [] if spec is None else list(spec.submodule_search_locations or [])
    candidates = [Path(root, "datasets", "data", "digits.csv.gz") for root in roots]
    path = next((candidate for candidate in candidates if candidate.is_file()), None)
    if path is None:
        raise UserError("digits: scikit-learn with its digits.csv.gz is not installed; `pip install scikit-learn`")
    content = gzip.decompress(path.read_bytes())
    table = torch.from_numpy(np.loadtxt(content.decode().splitlines(), delimiter=",", dtype=np.int64))
    images = table[:, :-1].reshape(-1, SIDE, SIDE).to(torch.uint8)
    return _Stored(images, table[:, -1].contiguous(), hashlib.sha256(content).hexdigest())


def _resize(images: Tensor, size: int) -> Tensor:
    """[n, 8, 8] from 0 to 16 -> [n, 3, size, size] uint8 from 0 to 255."""
    plane = images[:, None].float() * (255 / BRIGHTEST)
    if size != SIDE:
        plane = functional.interpolate(
            plane, size=(size, size), mode="bicubic", antialias=True, align_corners=False
        )
    return plane.round().clamp(0, 255).to(torch.uint8).expand(-1, 3, -1, -1).contiguous()
