"""Filling a folder of cached features, block by block, by any number of processes, over any number of attempts.

A byte for each block says whether it is done. A process that was killed leaves its blocks undone, and the
next attempt, or a process that waits in vain for another's blocks, computes them: the outcome is the same.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mimgen.data import Dataset
from mimgen.errors import UserError
from mimgen.files import write_atomically
from mimgen.probing.features import Encoder, evaluating, pooled

COMPLETE, KEY = "features.json", "key.json"
_PARTIAL, _DONE, _LOCK = "partial.json", "done.npy", "lock"
_BLOCK = 256  # images
_PATIENCE = 60.0  # seconds without progress after which another process's blocks are taken over

Watch = Callable[[int, int], None]


@dataclass(frozen=True)
class _Arrays:
    """The files of an unfinished folder, mapped for writing.

    Attributes:
        facts: of partial.json.
        levels: one array for each layer.
        labels: one array for each label.
        done: [blocks] uint8.
    """

    facts: Mapping[str, Any]
    levels: Mapping[int, np.ndarray]
    labels: Mapping[str, np.ndarray]
    done: np.ndarray


def layer_file(layer: int) -> str:
    """Name of the array of a layer."""
    return f"layer-{layer}.npy"


def fill(
    folder: Path,
    key: Mapping[str, Any],
    encoder: Encoder,
    image_set: Tensor | Dataset,
    *,
    batch_size: int,
    workers: int,
    on_block: Watch,
) -> None:
    """Compute whatever is missing; returns when all of it is there.

    Args:
        folder: of one key; made here.
        key: the key's fields, with `layers` resolved.
        encoder: the encoder.
        image_set: [n, 3, H, W] in [0, 1], or a data set.
        batch_size: images at a time.
        workers: processes on this machine; under torchrun (RANK, WORLD_SIZE) that launch's are taken instead.
        on_block: called with (images done, images in all).

    Raises:
        UserError: a batch or workers below 1, features that are not finite, a full disk, or what the encoder raises.
    """
    if batch_size < 1 or workers < 1:
        raise UserError(f"batch_size {batch_size} and workers {workers}: give at least 1 of each")
    if _open(folder, key, encoder, image_set) is None:
        return
    rank, world = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    if workers > 1 and world == 1:
        _in_processes(folder, key, encoder, image_set, batch_size, workers, on_block)
    else:
        _share(rank, world, folder, key, encoder, image_set, batch_size=batch_size, on_block=on_block)


def _share(
    rank: int,
    world: int,
    folder: Path,
    key: Mapping[str, Any],
    encoder: Encoder,
    image_set: Tensor | Dataset,
    batch_size: int,
    on_block: Watch,
) -> None:
    """Every `world`-th block from `rank` on, then whatever nobody else finishes."""
    arrays = _open(folder, key, encoder, image_set)
    if arrays is None:
        return
    with evaluating(encoder) as device:
        for number in range(rank, len(arrays.done), world):
            _block(arrays, number, key, encoder, image_set, batch_size, device)
            on_block(_images_done(arrays), len(image_set))
        _wait(arrays.done)
        for number in range(len(arrays.done)):
            _block(arrays, number, key, encoder, image_set, batch_size, device)
    on_block(len(image_set), len(image_set))
    _finish(folder, arrays.facts)


def _block(
    arrays: _Arrays,
    number: int,
    key: Mapping[str, Any],
    encoder: Encoder,
    image_set: Tensor | Dataset,
    batch_size: int,
    device: torch.device,
) -> None:
    if arrays.done[number]:
        return
    first = number * arrays.facts["block"]
    last = min(first + arrays.facts["block"], len(image_set))
    for start in range(first, last, batch_size):
        rows = slice(start, min(start + batch_size, last))
        images, labels = _read(image_set, range(rows.start, rows.stop))
        found = pooled(encoder, images.to(device), tuple(key["layers"]), key["pooling"])
        for layer, values in found.levels.items():
            _check_finite(values, layer, key["model"])
            arrays.levels[layer][rows] = values.numpy()
        for name, column in arrays.labels.items():
            column[rows] = [each.get(name, -1) for each in labels]
    for array in (*arrays.levels.values(), *arrays.labels.values()):
        array.flush()  # type: ignore[attr-defined]  # before the block counts as done
    arrays.done[number] = 1


def _read(image_set: Tensor | Dataset, rows: range) -> tuple[Tensor, list[Mapping[str, int]]]:
    if isinstance(image_set, Tensor):
        return image_set[rows.start : rows.stop], []
    # labels come with the image that was really read: another one where a file is corrupt
    samples = [image_set[row] for row in rows]
    return torch.stack([sample.image for sample in samples]).float() / 255, [each.labels for each in samples]


def _check_finite(values: Tensor, layer: int, model: str) -> None:
    broken = int((~torch.isfinite(values.flatten(1))).any(1).sum())
    if broken:
        raise UserError(
            f"features of layer {layer} of {model} are NaN or infinite for {broken} of {len(values)} images: "
            "the encoder has diverged; measure an earlier checkpoint"
        )


def _open(
    folder: Path, key: Mapping[str, Any], encoder: Encoder, image_set: Tensor | Dataset
) -> _Arrays | None:
    """The arrays of an unfinished folder, made where there are none; None for a finished one."""
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder):
        if (folder / COMPLETE).is_file():
            return None
        if not (folder / _PARTIAL).is_file():
            _create(folder, key, encoder, image_set)
        try:
            facts = json.loads((folder / _PARTIAL).read_text("utf-8"))
            levels = {layer: _writable(folder / layer_file(layer)) for layer in key["layers"]}
            labels = {name: _writable(folder / f"label-{name}.npy") for name in facts["labels"]}
            return _Arrays(facts, levels, labels, _writable(folder / _DONE))
        except (OSError, ValueError, EOFError, LookupError) as error:
            raise UserError(f"{folder} is damaged ({error}): remove it and extract the features again") from error


def _create(folder: Path, key: Mapping[str, Any], encoder: Encoder, image_set: Tensor | Dataset) -> None:
    """Empty arrays of the shapes that the first image has; partial.json is written last."""
    images, samples = _read(image_set, range(1))
    with evaluating(encoder) as device:
        first = pooled(encoder, images.to(device), tuple(key["layers"]), key["pooling"])
    total, width = len(image_set), np.dtype(key["precision"]).itemsize
    needed, free = total * width * sum(each.numel() for each in first.levels.values()), shutil.disk_usage(folder).free
    if needed > free:
        raise UserError(
            f"features of {total} images need {needed / 2**30:.1f} GiB and {folder} has {free / 2**30:.1f} GiB free: "
            "ask for fewer layers, for pooling mean, for precision float16, or choose another folder"
        )
    for layer, values in first.levels.items():
        _new(folder / layer_file(layer), key["precision"], (total, *values.shape[1:]))
    names = sorted(samples[0]) if samples else []
    for name in names:
        _new(folder / f"label-{name}.npy", "int64", (total,))
    _new(folder / _DONE, "uint8", (-(-total // _BLOCK),))
    _write(folder / KEY, key)
    facts = {"n": total, "block": _BLOCK, "grid": first.grid, "prefix": first.prefix, "labels": names}
    _write(folder / _PARTIAL, facts)


def _wait(done: np.ndarray) -> None:
    """Until every block is done, or nothing has come for so long that its process must be gone."""
    count, since = int(done.sum()), time.monotonic()
    while count < len(done) and time.monotonic() - since < _PATIENCE:
        time.sleep(0.05)
        if int(done.sum()) > count:
            count, since = int(done.sum()), time.monotonic()


def _finish(folder: Path, facts: Mapping[str, Any]) -> None:
    with _locked(folder):
        if not (folder / COMPLETE).is_file():
            _write(folder / COMPLETE, {name: facts[name] for name in ("n", "grid", "prefix", "labels")})
        for name in (_PARTIAL, _DONE):
            (folder / name).unlink(missing_ok=True)


def _in_processes(
    folder: Path,
    key: Mapping[str, Any],
    encoder: Encoder,
    image_set: Tensor | Dataset,
    batch_size: int,
    workers: int,
    on_block: Watch,
) -> None:
    from torch import multiprocessing

    threads = max(1, torch.get_num_threads() // workers)
    arguments = (workers, threads, folder, dict(key), encoder, image_set, batch_size)
    arrays = _open(folder, key, encoder, image_set)
    context = multiprocessing.spawn(_work, args=arguments, nprocs=workers, join=False)
    try:
        while not context.join(timeout=0.2):
            if arrays is not None:
                on_block(_images_done(arrays), len(image_set))
    except multiprocessing.ProcessRaisedException as error:
        _, found, message = str(error).strip().rpartition("mimgen.errors.UserError: ")
        if found:
            raise UserError(message) from None
        raise
    on_block(len(image_set), len(image_set))


def _work(
    rank: int,
    world: int,
    threads: int,
    folder: Path,
    key: Mapping[str, Any],
    encoder: Encoder,
    image_set: Tensor | Dataset,
    batch_size: int,
) -> None:
    """What each process of `_in_processes` does."""
    torch.set_num_threads(threads)
    _share(
        rank, world, folder, key, encoder, image_set, batch_size=batch_size, on_block=lambda done, total: None
    )


def _images_done(arrays: _Arrays) -> int:
    return min(int(arrays.done.sum()) * arrays.facts["block"], arrays.facts["n"])


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One process at a time; the lock of a killed process is free."""
    with (folder / _LOCK).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _new(path: Path, kind: str, shape: tuple[int, ...]) -> None:
    np.lib.format.open_memmap(path, "w+", np.dtype(kind), shape).flush()


def _writable(path: Path) -> np.ndarray:
    return np.lib.format.open_memmap(path, mode="r+")


def _write(path: Path, content: Mapping[str, Any]) -> None:
    write_atomically(path, json.dumps(content, indent=1) + "\n")
