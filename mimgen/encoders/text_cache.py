"""Encoded captions on disk, so that a frozen text encoder need not be in memory while a generator trains.

A folder holds every different caption once, the empty one of dropped captions first. It says which encoder made
it, by a hash of the encoder's files, and is refused for another.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from mimgen.encoders.text import TextStates
from mimgen.errors import UserError
from mimgen.files import write_atomically

ARRAYS = ("states", "pooled")
_AGAIN = "`mimgen data cache-text`"


class Frozen(Protocol):
    """A text encoder: captions to states [B, T, D] and a pooled vector [B, P]."""

    def encode(self, captions: Sequence[str]) -> TextStates: ...


def encoder_hash(folder: Path) -> str:
    """16 hexadecimal digits that stand for the files of a saved text encoder and its tokenizer; loads no weights.

    Raises:
        UserError: no text encoder there.
    """
    if not (folder / "config.json").is_file():
        raise UserError(f"{folder} holds no config.json: pass the folder of a text encoder")
    found = [path for path in folder.iterdir() if path.suffix in (".safetensors", ".json", ".txt")]
    beside = folder.parent / "tokenizer"  # where releases of diffusers keep it
    if not any((folder / name).is_file() for name in ("tokenizer.json", "vocab.json")) and beside.is_dir():
        found += [path for path in beside.iterdir() if path.suffix in (".json", ".txt")]
    running = hashlib.sha256()
    for path in sorted(found, key=lambda path: (path.parent != folder, path.name)):
        running.update(f"{path.name}\0".encode())
        with path.open("rb") as file:
            running.update(hashlib.file_digest(file, "sha256").digest())
    return running.hexdigest()[:16]


def cache_text(
    folder: Path,
    captions: Sequence[str],
    encoder: Frozen,
    key: str,
    *,
    batch_size: int = 64,
    precision: Literal["fp16", "fp32"] = "fp16",
    on_batch: Callable[[int, int], None] = lambda done, total: None,
) -> Path:
    """Fill `folder` with the states of every different caption and of the empty one, or resume where it stopped.

    Args:
        folder: the cache; complete once it holds `text.json`.
        captions: of the data, repetitions allowed.
        encoder: frozen.
        key: of `encoder_hash`.
        batch_size: captions at a time.
        precision: of the numbers on disk; half of the space, and an error of 1 in 2,000, for "fp16".
        on_batch: called with (captions done, captions in all).

    Raises:
        UserError: the folder holds states of another encoder, of other captions or in another precision.
    """
    wanted = list(dict.fromkeys(["", *captions]))
    head = {"key": key, "precision": precision, "captions": _digest(wanted)}
    if (folder / "text.json").is_file():
        _check(folder, _read(folder / "text.json"), head)
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    partial = {name: folder / f"{name}.partial.npy" for name in ARRAYS}
    done, arrays = 0, {}
    if (folder / "progress.json").is_file() and all(path.is_file() for path in partial.values()):
        kept = _read(folder / "progress.json")
        _check(folder, kept, head)
        done = int(kept["done"])
        arrays = {name: np.lib.format.open_memmap(path, mode="r+") for name, path in partial.items()}
    for start in range(done, len(wanted), batch_size):
        part = wanted[start : start + batch_size]
        made = _encoded(encoder, part, precision)
        if not arrays:
            arrays = {
                name: np.lib.format.open_memmap(partial[name], "w+", value.dtype, (len(wanted), *value.shape[1:]))
                for name, value in made.items()
            }
        for name, value in made.items():
            arrays[name][start : start + len(part)] = value
            arrays[name].flush()
        _write(folder / "progress.json", {**head, "done": start + len(part)})
        on_batch(start + len(part), len(wanted))
    arrays.clear()
    for name, path in partial.items():
        os.replace(path, folder / f"{name}.npy")
    _write(folder / "captions.json", wanted)
    _write(folder / "text.json", {**head, "n": len(wanted)})
    (folder / "progress.json").unlink()
    return folder


class CachedText(nn.Module):
    """A text encoder that looks its captions up; it has no weights and gives no gradient.

    Args:
        captions: every caption it knows, the empty one among them.
        states: [n, T, D] of each; may lie on disk.
        pooled: [n, P] of each.
        encoder: folder of the text encoder that made them.
    """

    def __init__(self, captions: Sequence[str], states: Any, pooled: Any, encoder: Path) -> None:
        super().__init__()
        self.states, self.pooled, self.encoder = states, pooled, encoder
        self.max_words, self.width = int(states.shape[1]), int(states.shape[2])
        self.pooled_width = int(pooled.shape[1])
        self.device = torch.device("cpu")
        self._rows = {caption: row for row, caption in enumerate(captions)}

    @classmethod
    def open(cls, folder: str | Path, encoder: Path) -> CachedText:
        """The states in `folder`, made by the text encoder in the folder `encoder`; they stay on disk.

        Raises:
            UserError: no cache, an unfinished or damaged one, or one of another encoder.
        """
        folder = Path(folder)
        if not (folder / "text.json").is_file():
            if (folder / "progress.json").is_file():
                raise UserError(f"{folder} is not finished: run the same {_AGAIN} again, it resumes")
            raise UserError(f"{folder} holds no cached text states (text.json); make them with {_AGAIN}")
        kept = _read(folder / "text.json")
        if kept["key"] != encoder_hash(encoder):
            raise UserError(
                f"{folder} was made by another text encoder than {encoder}: make states of this one with {_AGAIN} "
                "into another folder"
            )
        try:
            arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in ARRAYS}
            captions = json.loads((folder / "captions.json").read_text("utf-8"))
        except (OSError, ValueError, EOFError) as error:
            raise UserError(f"{folder} is damaged ({error}): remove it and run {_AGAIN} again") from error
        return cls(captions, **arrays, encoder=encoder)

    def encode(self, captions: Sequence[str]) -> TextStates:
        """B captions to states [B, T, D] and pooled [B, P], float32, on the device of the module.

        Raises:
            UserError: a caption is not in the cache.
        """
        unknown = next((caption for caption in captions if caption not in self._rows), None)
        if unknown is not None:
            raise UserError(
                f'no cached text states of "{unknown[:60]}": make them with {_AGAIN} and the --data of this run'
            )
        rows = [self._rows[caption] for caption in captions]
        return TextStates(self._read(self.states, rows), self._read(self.pooled, rows))

    def _read(self, array: Any, rows: list[int]) -> Tensor:
        return torch.from_numpy(np.asarray(array[rows], dtype=np.float32)).to(self.device)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> CachedText:
        # `to` and `cuda` come through here; a buffer to predict the device would be one more thing to save
        self.device = fn(torch.empty(0, device=self.device)).device
        return super()._apply(fn, recurse)


@torch.no_grad()
def _encoded(encoder: Frozen, captions: list[str], precision: str) -> dict[str, Any]:
    made = encoder.encode(captions)
    kind = np.float16 if precision == "fp16" else np.float32
    return {name: getattr(made, name).float().cpu().numpy().astype(kind) for name in ARRAYS}


def _check(folder: Path, kept: dict[str, Any], head: dict[str, Any]) -> None:
    words = {"key": "text encoder", "precision": "precision", "captions": "list of captions"}
    differing = [words[name] for name, value in head.items() if kept.get(name) != value]
    if differing:
        raise UserError(f"{folder} holds states of another {' and another '.join(differing)}: choose another --out")


def _digest(captions: Sequence[str]) -> str:
    return hashlib.sha256("\0".join(captions).encode()).hexdigest()[:16]


def _read(path: Path) -> dict[str, Any]:
    try:
        kept: dict[str, Any] = json.loads(path.read_text("utf-8"))
        if {"key", "captions"} <= kept.keys():
            return kept
    except (ValueError, AttributeError):
        pass
    raise UserError(f"{path} is damaged: remove {path.parent} and run {_AGAIN} again")


def _write(path: Path, content: Any) -> None:
    write_atomically(path, json.dumps(content, indent=1) + "\n")
