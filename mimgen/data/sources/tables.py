"""Hugging Face datasets saved to disk, and parquet files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mimgen.data.sources.listing import Listing, complete_scores, digest, score_of
from mimgen.errors import UserError

if TYPE_CHECKING:
    from datasets import Dataset as Table

__all__ = ["is_saved_dataset", "list_parquet", "list_saved"]

CAPTION_COLUMNS = ("text", "caption", "prompt", "description")
VAL_NAMES = ("val", "validation", "test")


def is_saved_dataset(folder: Path) -> bool:
    """Whether `datasets.Dataset.save_to_disk` wrote this folder."""
    return any((folder / name).is_file() for name in ("dataset_dict.json", "state.json"))


def list_saved(folder: Path, split: str | None) -> Listing:
    """A folder written by `save_to_disk`; of several splits the one that answers to `split`.

    Raises:
        UserError: the folder does not load, has no such split or no images.
    """
    import datasets

    try:
        loaded = datasets.load_from_disk(str(folder))
    except (OSError, ValueError) as error:
        raise UserError(f"{folder} does not load as a saved dataset: {error}") from error
    if isinstance(loaded, datasets.Dataset):
        return _list_table(str(folder), loaded).split(split)
    wanted = VAL_NAMES if split == "val" else ("train", *loaded)
    found = next((name for name in wanted if name in loaded), None)
    if found is not None and (split == "val" or any(name in loaded for name in VAL_NAMES)):
        return _list_table(f"{folder}/{found}", loaded[found])
    # Without a held-out split of its own, five in a hundred are held out as everywhere else.
    first = "train" if "train" in loaded else next(iter(loaded))
    return _list_table(f"{folder}/{first}", loaded[first]).split(split)


def list_parquet(name: str, files: Sequence[Path]) -> Listing:
    """Parquet files with one image a row.

    Raises:
        UserError: a file does not load or has no image column.
    """
    import datasets

    try:
        table = datasets.Dataset.from_parquet([str(file) for file in files])
    except Exception as error:
        raise UserError(f"{name} does not load as parquet: {error}") from error
    return _list_table(name, table)


def _list_table(name: str, table: Table) -> Listing:
    import datasets

    column = _image_column(name, table)
    if isinstance(table.features[column], datasets.Image):
        table = table.cast_column(column, datasets.Image(decode=False))
    if len(table) == 0:
        raise UserError(f"{name} has no rows")
    images = table.select_columns([column])
    caption = next((word for word in CAPTION_COLUMNS if word in table.column_names), None)
    captions = [str(text or "") for text in table[caption]] if caption else [""] * len(table)
    labels = {key: kind for key, kind in table.features.items() if isinstance(kind, datasets.ClassLabel)}
    scores_found = table["score"] if "score" in table.column_names else []
    scores = complete_scores(
        [score_of({"score": score}, f"{name}, row {row}") for row, score in enumerate(scores_found)]
    )
    # A row without a class has None or -1 there; such a label set is left out.
    ids = {key: list(table[key]) for key in labels}
    complete = {key: rows for key, rows in ids.items() if all(row is not None and row >= 0 for row in rows)}
    return Listing(
        name=name,
        keys=[f"{row:08d}" for row in range(len(table))],
        captions=captions,
        read=lambda index: _bytes(images[index][column]),
        digest=digest([name, len(table), *captions, *(scores or ())]),
        labels=complete,
        label_names={key: list(labels[key].names) for key in complete},
        scores=scores,
    )


def _image_column(name: str, table: Table) -> str:
    """The column that holds images: of type Image, {bytes, path} or binary."""
    import datasets

    for column, kind in table.features.items():
        if isinstance(kind, datasets.Image) or (isinstance(kind, dict) and "bytes" in kind):
            return column
        if isinstance(kind, datasets.Value) and kind.dtype in ("binary", "large_binary"):
            return column
    raise UserError(
        f"{name} has no image column (type Image, {{bytes, path}} or binary); "
        f"its columns are {', '.join(table.column_names)}"
    )


def _bytes(cell: dict[str, Any] | bytes | None) -> bytes:
    """The image file in a cell; an OSError where there is none."""
    if isinstance(cell, dict):
        content = cell.get("bytes")
        return content if content is not None else Path(cell.get("path") or "").read_bytes()
    if cell is None:
        raise OSError("the row holds no image")
    return bytes(cell)
