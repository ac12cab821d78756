"""The embedded data set: 3,655 emoji with their Unicode names."""

from __future__ import annotations

import hashlib
import io
import json
import logging
import tarfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from mimgen.data.memory import MemoryDataset
from mimgen.errors import UserError

__all__ = ["EMOJI_SPLITS", "open_emoji"]

EMOJI_SPLITS = ("train", "val", "compose", "all")
SHARDS = Path(__file__).parents[1] / "assets" / "emoji-64"

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Stored:
    """The shards as they lie on disk: images [n, 3, 64, 64] uint8 and the facts of each."""

    images: Tensor
    keys: list[str]
    facts: list[dict[str, str]]
    digest: str


def open_emoji(size: int = 64, split: str | None = None) -> MemoryDataset:
    """The emoji as a data set in memory.

    Args:
        size: side in pixels; 64 is stored, smaller sizes are averaged, larger ones interpolated.
        split: "train", "val", "compose" (known roles in skin tones not seen in training) or
            "all"; None means "all".

    Raises:
        UserError: a size or split that does not exist.
    """
    if size < 1:
        raise UserError(f"size {size} is not positive; pass the side of the images, for example 64")
    chosen = split or "all"
    if chosen not in EMOJI_SPLITS:
        raise UserError(f"emoji have no split {split!r}; choose from {', '.join(EMOJI_SPLITS)}")
    stored = _stored(SHARDS)
    rows = [i for i, fact in enumerate(stored.facts) if chosen in ("all", fact["split"])]
    facts = [stored.facts[row] for row in rows]
    label_names = {kind: _in_order(stored.facts, kind) for kind in ("group", "subgroup")}
    return MemoryDataset(
        name="emoji" if chosen == "all" else f"emoji/{chosen}",
        fingerprint=hashlib.sha256(f"{stored.digest}/{chosen}/{size}".encode()).hexdigest()[:16],
        images=_resize(stored.images[torch.tensor(rows)], size),
        captions=[fact["caption"] for fact in facts],
        keys=[stored.keys[row] for row in rows],
        labels={
            kind: torch.tensor([names.index(fact[kind]) for fact in facts])
            for kind, names in label_names.items()
        },
        label_names=label_names,
        splits=[fact["split"] for fact in facts],
    )


def _in_order(facts: list[dict[str, str]], kind: str) -> list[str]:
    """The distinct values, in the order of Unicode's list."""
    return list(dict.fromkeys(fact[kind] for fact in facts))


@cache
def _stored(folder: Path) -> _Stored:
    """Decode the shards; once per process."""
    from PIL import Image

    images, keys, facts = [], [], []
    digest = hashlib.sha256()
    for path in sorted(folder.glob("emoji-*.tar")):
        content = path.read_bytes()
        digest.update(content)
        with tarfile.open(fileobj=io.BytesIO(content)) as tar:
            for entry in tar:
                key, _, kind = entry.name.partition(".")
                file = tar.extractfile(entry)
                assert file is not None, entry.name
                if kind == "json":
                    keys.append(key)
                    facts.append(json.load(file))
                else:
                    with Image.open(file) as image:
                        images.append(np.asarray(image.convert("RGB")))
    if not images:
        raise UserError(f"the embedded emoji are missing from {folder}; reinstall mimgen")
    pixels = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous()
    return _Stored(pixels, keys, facts, digest.hexdigest())


def _resize(images: Tensor, size: int) -> Tensor:
    """[n, 3, s, s] uint8 -> [n, 3, size, size] uint8, by area when that is a whole fraction."""
    stored = images.shape[-1]
    if size == stored:
        return images
    if size > stored:
        logger.warning(
            "emoji are stored at %d pixels; %d is interpolated; `mimgen data emoji --size %d` renders them",
            stored,
            size,
            size,
        )
    parts = []
    # In slices, as the whole set in float32 takes a fifth of a gigabyte.
    for part in images.split(512):
        if stored % size == 0:
            shrunk = functional.interpolate(part.float(), size=(size, size), mode="area")
        else:
            shrunk = functional.interpolate(
                part.float(), size=(size, size), mode="bicubic", antialias=True, align_corners=False
            )
        parts.append(shrunk.round().clamp(0, 255).to(torch.uint8))
    return torch.cat(parts)
