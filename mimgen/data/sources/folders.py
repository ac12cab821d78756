"""Folders of images: with captions, with a folder per class, or plain."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from mimgen.data.sources.decode import IMAGE_SUFFIXES
from mimgen.data.sources.listing import Listing, complete_scores, digest, score_of
from mimgen.errors import UserError

__all__ = ["list_folder", "read_metadata"]

logger = logging.getLogger(__name__)


def list_folder(folder: Path) -> Listing:
    """What a folder of images holds; its form is seen from its contents.

    - `metadata.jsonl` with file_name and text, and maybe score: captions, and preference scores (the form of
      Hugging Face's imagefolder);
    - a .txt file beside an image: its caption;
    - every image in a sub-folder: label set "class", and the folder's name as caption;
    - otherwise images without captions.

    Raises:
        UserError: no images, or metadata that does not fit them.
    """
    if (folder / "metadata.jsonl").is_file():
        rows = read_metadata(folder / "metadata.jsonl")
        captions = [caption for caption, _ in rows.values()]
        scores = complete_scores([score for _, score in rows.values()])
        return _listing(folder, [folder / name for name in rows], captions, scores=scores)
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES)
    if not paths:
        raise UserError(f"{folder} holds no images{_instead(folder)}; put .png, .jpg or .webp files there")
    texts = [path.with_suffix(".txt") for path in paths]
    if any(text.is_file() for text in texts):
        captions_beside = [_read_text(text) for text in texts]
        if missing := captions_beside.count(""):
            logger.warning("%s: %d of %d images have no .txt caption", folder, missing, len(paths))
        return _listing(folder, paths, captions_beside)
    if all(path.parent != folder for path in paths):
        return _classes(folder, paths)
    return _listing(folder, paths, [""] * len(paths))


def read_metadata(path: Path) -> dict[str, tuple[str, float | None]]:
    """File name -> (caption, score) of a `metadata.jsonl`; a score is None where there is none.

    Raises:
        UserError: a line is not JSON, a column is missing, a score is no number, or named files do not exist.
    """
    rows: dict[str, tuple[str, float | None]] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise UserError(f"{path}, line {number} is not JSON: {error}") from error
        if not isinstance(row, dict):
            raise UserError(f'{path}, line {number}: want {{"file_name": ..., "text": ...}}')
        for column in ("file_name", "text"):
            if column not in row:
                raise UserError(f"{path}, line {number} has no {column!r}; its columns are {', '.join(row)}")
        rows[str(row["file_name"])] = (str(row["text"] or ""), score_of(row, f"{path}, line {number}"))
    if not rows:
        raise UserError(f'{path} is empty; write one {{"file_name": ..., "text": ...}} a line')
    missing = [name for name in rows if not (path.parent / name).is_file()]
    if missing:
        raise UserError(
            f"{path} names {len(missing)} missing files of {len(rows)}, for example "
            f"{', '.join(missing[:3])}; names are relative to {path.parent}"
        )
    return rows


def _classes(folder: Path, paths: Sequence[Path]) -> Listing:
    names = [path.relative_to(folder).parts[0] for path in paths]
    classes = sorted(set(names))
    number = {name: index for index, name in enumerate(classes)}
    captions = [name.replace("_", " ") for name in names]
    return _listing(folder, paths, captions, {"class": [number[name] for name in names]}, {"class": classes})


def _listing(
    folder: Path,
    paths: Sequence[Path],
    captions: list[str],
    labels: dict[str, list[int]] | None = None,
    label_names: dict[str, list[str]] | None = None,
    scores: list[float] | None = None,
) -> Listing:
    keys = [path.relative_to(folder).as_posix() for path in paths]
    sizes = [path.stat().st_size for path in paths]
    return Listing(
        name=str(folder),
        keys=keys,
        captions=captions,
        read=lambda index: paths[index].read_bytes(),
        digest=digest([*(part for row in zip(keys, sizes, captions, strict=True) for part in row), *(scores or ())]),
        labels=labels or {},
        label_names=label_names or {},
        scores=scores,
    )


def _read_text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace").strip() if path.is_file() else ""


def _instead(folder: Path) -> str:
    """What a folder without images holds, in words."""
    kinds = Counter(path.suffix or "without suffix" for path in folder.rglob("*") if path.is_file())
    found = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common(3))
    return f" (found: {found})" if found else " (it is empty)"
