"""Features that are computed once: a folder on disk for each model, layer, transform and set of images.

    <root>/<hash of the key>/key.json          what the features were made from
                             features.json     there once they are complete
                             layer-<l>.npy     [n, F] or [n, N, D], one for each layer
                             label-<name>.npy  [n] int64, where the images came with labels

Arrays are memory-mapped: reading a part of one reads that part of the file.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from mimgen.data import Dataset
from mimgen.data.cache.codes import check_fixed
from mimgen.errors import UserError
from mimgen.probing.cache_fill import COMPLETE, KEY, fill, layer_file
from mimgen.probing.features import Encoder, Features, Pooling, resolve_layers

Precision = Literal["float32", "float16"]
_WORDS = {
    "model": "model", "weights": "weights", "data": "data", "contents": "images", "split": "split",
    "pixels": "size of the images", "layers": "layers", "pooling": "pooling", "precision": "number format",
    "count": "number of images",
}  # fmt: skip
_OF_A_SET = ("data", "contents", "split", "count")


@dataclass(frozen=True)
class FeatureKey:
    """What features were made from; two sets of features are the same where all of it is equal.

    Attributes:
        model: name of the encoder.
        weights: digest of its weights and settings; see `mimgen.encoders.digest`.
        data: name of the data.
        contents: digest of the images and of the transform that made them squares.
        split: part of the data.
        pixels: side of the images.
        layers: blocks counted from 0, the encoder's depth meaning the output; none means the output.
        pooling: as of `extract`.
        precision: number format on disk.
        count: number of images.
    """

    model: str
    weights: str
    data: str
    contents: str
    split: str
    pixels: int
    layers: tuple[int, ...] = ()
    pooling: Pooling = "mean"
    precision: Precision = "float32"
    count: int = 0

    @property
    def folder(self) -> str:
        """16 hexadecimal digits that stand for the key."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class CachedFeatures(Features):
    """`Features` whose tensors are backed by files.

    Attributes:
        labels: named labels [n] int64, in the order of the features; -1 where an image has none.
        folder: where they lie.
    """

    labels: Mapping[str, Tensor] = field(default_factory=dict)
    folder: Path | None = None


def key_of(
    images: Tensor | Dataset,
    *,
    model: str,
    weights: str,
    data: str | None = None,
    split: str | None = None,
    layers: Sequence[int] = (),
    pooling: Pooling = "mean",
    precision: Precision = "float32",
) -> FeatureKey:
    """The key of some images under an encoder.

    Args:
        images: [n, 3, H, W] in [0, 1], or a data set.
        model: name of the encoder.
        weights: digest of the encoder.
        data: name of the data; by default the data set's own.
        split: part of it; "all" by default.
        layers: as of `extract`.
        pooling: as of `extract`.
        precision: number format on disk; "float16" halves the files.

    Raises:
        UserError: no images, or images that are cropped or flipped at random.
    """
    if isinstance(images, Tensor):
        if images.dim() != 4 or not len(images):
            raise UserError(f"features want images [n, 3, H, W], at least one, got {list(images.shape)}")
        contents, name, pixels = _digest(images), data or "tensor", int(images.shape[-1])
    else:
        check_fixed(images)
        contents, name, pixels = images.fingerprint, data or images.name, int(images[0].image.shape[-1])
    return FeatureKey(
        model=model,
        weights=weights,
        data=name,
        contents=contents,
        split=split or "all",
        pixels=pixels,
        layers=tuple(layers),
        pooling=pooling,
        precision=precision,
        count=len(images),
    )


def cached_features(
    root: str | Path,
    key: FeatureKey,
    encoder: Encoder,
    images: Tensor | Dataset,
    *,
    batch_size: int = 64,
    workers: int = 1,
    on_block: Callable[[int, int], None] = lambda done, total: None,
) -> CachedFeatures:
    """Features from the cache, computed first where they are not there yet.

    Interrupted at any point, the same call resumes where it stopped, with any number of processes. Under
    torchrun every process takes its share of the blocks and all return when the last block is there.

    Args:
        root: folder of the cache.
        key: of `key_of`.
        encoder: frozen; its mode is put back afterwards. Not touched where the features are there.
        images: what the key was made from.
        batch_size: images at a time.
        workers: processes; more than 1 starts that many with a copy of the encoder each.
        on_block: called with (images done, images in all).

    Raises:
        UserError: a layer or pooling that does not exist, features that are not finite, or a full disk.
    """
    layers = resolve_layers(key.layers, encoder.depth, key.pooling)
    key = replace(key, layers=layers, count=len(images))
    folder = Path(root) / key.folder
    if not (folder / COMPLETE).is_file():
        fill(folder, asdict(key), encoder, images, batch_size=batch_size, workers=workers, on_block=on_block)
    return open_features(folder, key)


def open_features(folder: str | Path, key: FeatureKey | None = None) -> CachedFeatures:
    """The features in a folder of the cache, memory-mapped.

    Args:
        folder: of `cached_features`.
        key: what they must have been made from; not checked when None.

    Raises:
        UserError: no features, unfinished or damaged ones, or features of something else.
    """
    folder = Path(folder)
    if not (folder / COMPLETE).is_file():
        raise UserError(f"{folder} holds no complete features: extract them again, extraction resumes where it stopped")
    try:
        facts, kept = (json.loads((folder / name).read_text("utf-8")) for name in (COMPLETE, KEY))
        found = FeatureKey(**{**kept, "layers": tuple(kept["layers"])})
        levels = {layer: _mapped(folder / layer_file(layer)) for layer in found.layers}
        labels = {name: _mapped(folder / f"label-{name}.npy") for name in facts["labels"]}
    except (OSError, ValueError, EOFError, LookupError, TypeError) as error:
        raise UserError(f"{folder} is damaged ({error}): remove it and extract the features again") from error
    if key is not None:
        check_comparable(found, key, same_images=True)
    grid = None if facts["grid"] is None else (facts["grid"][0], facts["grid"][1])
    return CachedFeatures(levels, found.pooling, grid, facts["prefix"], labels, folder)


def check_comparable(first: FeatureKey, second: FeatureKey, *, same_images: bool = False) -> None:
    """Raise a `UserError` that names what differs, unless a probe may be fitted on one and tested on the other.

    Args:
        first: of the one set, such as train.
        second: of the other.
        same_images: the images must be equal too.
    """
    ignored = () if same_images else _OF_A_SET
    names = [each.name for each in fields(FeatureKey) if each.name not in ignored]
    differing = [
        f"{_WORDS[name]} ({getattr(first, name)} and {getattr(second, name)})"
        for name in names
        if getattr(first, name) != getattr(second, name)
    ]
    if differing:
        raise UserError(f"these features do not go together, they differ in {', '.join(differing)}: extract both alike")


def _mapped(path: Path) -> Tensor:
    """A tensor backed by a file; what is written to it stays in memory (copy on write)."""
    return torch.from_numpy(np.load(path, mmap_mode="c"))


def _digest(images: Tensor) -> str:
    running = hashlib.sha256(f"{images.dtype} {list(images.shape)}".encode())
    for part in images.split(256):
        values: Any = part.detach().cpu().contiguous().flatten().view(torch.uint8).numpy()
        running.update(values.tobytes())
    return running.hexdigest()[:16]
