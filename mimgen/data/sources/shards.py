"""WebDataset shards on disk, indexed so that they can be read in any order."""

from __future__ import annotations

import json
import re
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mimgen.data.sources.decode import IMAGE_SUFFIXES
from mimgen.data.sources.listing import Listing, complete_scores, digest, score_of
from mimgen.errors import UserError

__all__ = ["caption_of", "class_of", "expand_braces", "image_of", "list_shards", "score_in"]

BLOCK = 512
_BRACE = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d+)\.\.(\d+)")


@dataclass(frozen=True)
class _Location:
    """Where the bytes of an image lie."""

    shard: Path
    offset: int
    size: int


def expand_braces(pattern: str) -> list[str]:
    """ "a-{00..02}.tar" or "a-{x,y}.tar" to its file names; zeros in front are kept."""
    match = _BRACE.search(pattern)
    if match is None:
        return [pattern]
    bounds = _RANGE.fullmatch(match.group(1))
    if bounds:
        first, last = bounds.groups()
        width = len(first) if first.startswith("0") else 1
        options = [f"{number:0{width}d}" for number in range(int(first), int(last) + 1)]
    else:
        options = match.group(1).split(",")
    head, tail = pattern[: match.start()], pattern[match.end() :]
    return [expanded for option in options for expanded in expand_braces(head + option + tail)]


def list_shards(name: str, shards: Sequence[Path]) -> Listing:
    """Index local tar files: the headers are read once, images only when asked for.

    Raises:
        UserError: a shard is missing, truncated or no tar file, or none holds an image.
    """
    missing = [shard for shard in shards if not shard.is_file()]
    if missing:
        raise UserError(f"{name}: {len(missing)} of {len(shards)} shards are missing, first {missing[0]}")
    keys: list[str] = []
    captions: list[str] = []
    locations: list[_Location] = []
    classes: list[int | None] = []
    scores_found: list[float | None] = []
    for shard in shards:
        for key, members, location in _index(shard):
            keys.append(key)
            captions.append(caption_of(members))
            classes.append(class_of(members))
            scores_found.append(score_in(members, f"{shard}, {key}"))
            locations.append(location)
    if not keys:
        raise UserError(f"{name}: the shards hold no images; want members such as key.jpg and key.txt")
    known = [label for label in classes if label is not None]
    labelled, scores = len(known) == len(classes), complete_scores(scores_found)
    return Listing(
        name=name,
        keys=keys,
        captions=captions,
        read=lambda index: _read(locations[index]),
        digest=digest([*keys, *captions, *(location.size for location in locations), *(scores or ())]),
        labels={"class": known} if labelled else {},
        label_names={"class": [str(number) for number in range(max(known) + 1)]} if labelled else {},
        scores=scores,
    )


def _read(location: _Location) -> bytes:
    with location.shard.open("rb") as file:
        file.seek(location.offset)
        return file.read(location.size)


def _index(shard: Path) -> list[tuple[str, dict[str, bytes], _Location]]:
    """(key, small members, place of the image) of each sample, in the order of the tar."""
    members: dict[str, dict[str, bytes]] = {}
    images: dict[str, _Location] = {}
    end = 0
    try:
        with tarfile.open(shard, "r:") as tar:
            for entry in tar:
                end = entry.offset_data + -(-entry.size // BLOCK) * BLOCK
                key, kind = split_member(entry.name)
                if not entry.isfile() or not key:
                    continue
                if f".{kind.rpartition('.')[2]}" in IMAGE_SUFFIXES:
                    images.setdefault(key, _Location(shard, entry.offset_data, entry.size))
                elif kind in ("json", "txt", "caption", "cls"):
                    file = tar.extractfile(entry)
                    members.setdefault(key, {})[kind] = file.read() if file else b""
    except (tarfile.TarError, EOFError, OSError) as error:
        raise UserError(f"{shard} is truncated or no tar file ({error}); fetch it again") from error
    # A tar closes with empty blocks; one cut off between two members would otherwise look complete.
    if shard.stat().st_size < end + BLOCK:
        raise UserError(f"{shard} is truncated: it ends at {shard.stat().st_size} bytes; fetch it again")
    return [(key, members.get(key, {}), location) for key, location in images.items()]


def split_member(name: str) -> tuple[str, str]:
    """ "a/b.seg.png" -> ("a/b", "seg.png"): the key ends at the first dot of the file name."""
    folder, slash, file = name.rpartition("/")
    key, _, kind = file.partition(".")
    return (f"{folder}{slash}{key}" if key else ""), kind.lower()


def image_of(members: dict[str, Any]) -> bytes | None:
    """The bytes of the image among the members of a sample."""
    for kind, content in members.items():
        if f".{kind.rpartition('.')[2]}" in IMAGE_SUFFIXES:
            return bytes(content)
    return None


def caption_of(members: dict[str, Any]) -> str:
    """The caption of a sample: .txt, .caption, or caption or text in .json; else empty."""
    for kind in ("txt", "caption"):
        if kind in members:
            return bytes(members[kind]).decode("utf-8", errors="replace").strip()
    facts = _json(members)
    return str(facts.get("caption") or facts.get("text") or "")


def class_of(members: dict[str, Any]) -> int | None:
    """The class id of a sample: .cls, or label or class in .json."""
    if "cls" in members:
        text = bytes(members["cls"]).decode(errors="replace").strip()
        return int(text) if text.isdigit() else None
    facts = _json(members)
    found = facts.get("label", facts.get("class"))
    return found if isinstance(found, int) and found >= 0 else None


def score_in(members: dict[str, Any], where: str) -> float | None:
    """The preference score of a sample: score in .json; see `listing.score_of`."""
    return score_of(_json(members), where)


def _json(members: dict[str, Any]) -> dict[str, Any]:
    try:
        facts = json.loads(bytes(members.get("json", b"{}")))
    except ValueError:
        return {}
    return facts if isinstance(facts, dict) else {}
