"""Cached token ids on disk.

The folder records from which images, at which size and by which tokenizer its ids were made, and is
refused for anything else. While it is being filled its files carry another name.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from mimgen.data.cache.codes import CachedCodes, CodesKey, Encode, check_fixed, encoded, fill
from mimgen.data.contract import Dataset
from mimgen.errors import UserError
from mimgen.files import write_atomically

__all__ = ["cache_codes", "open_codes"]

_ARRAYS = ("codes", "sources", "conditions")
_WORDS = {
    "data": "images",
    "transform": "size or crop of the images",
    "tokenizer": "tokenizer",
    "weights": "weights of the tokenizer",
}


def cache_codes(
    folder: Path,
    dataset: Dataset,
    encode: Encode,
    key: CodesKey,
    *,
    batch_size: int = 64,
    on_batch: Callable[[int, int], None] = lambda done, total: None,
) -> Path:
    """Fill `folder` with the ids of every image, or continue with one that was interrupted.

    Args:
        folder: the cache; complete once it holds `codes.json`.
        dataset: images that are read the same way every time.
        encode: images [b, 3, S, S] to ids [b, h, w].
        key: of `key_of`.
        batch_size: images at a time.
        on_batch: called with (images done, images in all).

    Raises:
        UserError: no images, a random transform, or a folder that holds ids of something else.
    """
    check_fixed(dataset)
    total = len(dataset)
    if (folder / "codes.json").is_file():
        _check_key(folder, _read_json(folder / "codes.json"), key, total)
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    done = _progress(folder, key, total)
    arrays = _open_partial(folder, dataset, encode, done)

    def keep(rows: int) -> None:
        for array in arrays.values():
            array.flush()
        _write_json(folder / "progress.json", {"key": asdict(key), "n": total, "done": rows})
        on_batch(rows, total)

    fill(arrays, dataset, encode, done, batch_size, keep)
    shape = list(arrays["codes"].shape)
    arrays.clear()
    for name in _ARRAYS:
        os.replace(folder / f"{name}.partial.npy", folder / f"{name}.npy")
    size = dataset[0].image.shape[-1]
    _write_json(folder / "codes.json", {"key": asdict(key), "n": total, "shape": shape, "size": size})
    (folder / "progress.json").unlink()
    return folder


def open_codes(folder: Path, dataset: Dataset, key: CodesKey, *, flip: bool = False) -> CachedCodes:
    """The ids in `folder` as a data set; the ids stay on disk and are read as they are needed.

    Raises:
        UserError: no cache, an unfinished one, or one of other images, another size or another tokenizer.
    """
    if not (folder / "codes.json").is_file():
        if (folder / "progress.json").is_file():
            raise UserError(f"{folder} is not finished: run the same `mimgen data cache-codes` again, it resumes")
        raise UserError(f"{folder} holds no cached codes (codes.json); make them with `mimgen data cache-codes`")
    kept = _read_json(folder / "codes.json")
    _check_key(folder, kept, key, len(dataset))
    try:
        arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in _ARRAYS}
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"{folder} is damaged ({error}): remove it and run `mimgen data cache-codes` again") from error
    return CachedCodes(dataset, **arrays, size=kept["size"], flip=flip)


def _open_partial(folder: Path, dataset: Dataset, encode: Encode, done: int) -> dict[str, Any]:
    paths = {name: folder / f"{name}.partial.npy" for name in _ARRAYS}
    if done:
        return {name: np.lib.format.open_memmap(path, mode="r+") for name, path in paths.items()}
    first = encoded(dataset, encode, range(1))
    return {
        name: np.lib.format.open_memmap(paths[name], "w+", value.dtype, (len(dataset), *value.shape[1:]))
        for name, value in first.items()
    }


def _progress(folder: Path, key: CodesKey, total: int) -> int:
    """Images already done in an unfinished cache."""
    path = folder / "progress.json"
    if not path.is_file() or not all((folder / f"{name}.partial.npy").is_file() for name in _ARRAYS):
        return 0
    kept = _read_json(path)
    _check_key(folder, kept, key, total)
    return int(kept["done"])


def _check_key(folder: Path, kept: Mapping[str, Any], key: CodesKey, total: int) -> None:
    wanted = asdict(key)
    differing = [words for name, words in _WORDS.items() if kept["key"].get(name) != wanted[name]]
    if not differing and kept["n"] != total:
        differing = ["number of images"]
    if differing:
        raise UserError(
            f"{folder} holds codes of another {' and another '.join(differing)}: make new ones with "
            "`mimgen data cache-codes` into another folder, with the --data, --size and --tokenizer of this run"
        )


def _read_json(path: Path) -> dict[str, Any]:
    try:
        kept: dict[str, Any] = json.loads(path.read_text("utf-8"))
        if {"key", "n"} <= kept.keys():
            return kept
    except (ValueError, AttributeError):
        pass
    raise UserError(f"{path} is damaged: remove {path.parent} and run `mimgen data cache-codes` again")


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    write_atomically(path, json.dumps(content, indent=1) + "\n")
