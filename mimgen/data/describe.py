"""What a data set holds, in numbers: `mimgen data show`."""

from __future__ import annotations

from itertools import islice
from typing import Any

from mimgen.data.contract import Dataset
from mimgen.data.open import open_data
from mimgen.data.sources.images import ImageDataset
from mimgen.data.sources.stream import ShardStream
from mimgen.data.transforms.resize import Transform

__all__ = ["describe"]

# Decoding shows which images are corrupt; in a larger set as many, evenly spread, are tried.
CHECKED = 2000
EXAMPLES = 5


def describe(spec: str, size: int = 64) -> dict[str, Any]:
    """Count, captions, label sets and corrupt images of a data argument, as JSON values.

    Keys: name, fingerprint, count, captions (images that have one), label_sets (name -> number
    of classes), checked and corrupt (images decoded, and of those unreadable), corrupt_names
    (at most 5), examples (5 captions), splits. A stream has no count: its first samples are read.

    Raises:
        UserError: as `open_data`.
    """
    dataset = open_data(spec, size=size)
    if not isinstance(dataset, Dataset):
        return _describe_stream(spec, size)
    step = max(1, len(dataset) // EXAMPLES)
    return {
        "name": dataset.name,
        "fingerprint": dataset.fingerprint,
        "count": len(dataset),
        "captions": sum(caption != "" for caption in dataset.captions),
        "label_sets": {name: len(names) for name, names in dataset.label_names.items()},
        **_corrupt(dataset),
        "examples": dataset.captions[::step][:EXAMPLES],
        "splits": _splits(spec, size) if len(dataset) > 1 else {},
    }


def _corrupt(dataset: Dataset) -> dict[str, Any]:
    if not isinstance(dataset, ImageDataset):
        return {"checked": len(dataset), "corrupt": 0, "corrupt_names": []}
    tried = range(0, len(dataset), -(-len(dataset) // CHECKED))
    bad = [dataset.keys[index] for index in tried if not dataset.check(index)]
    return {"checked": len(tried), "corrupt": len(bad), "corrupt_names": bad[:EXAMPLES]}


def _splits(spec: str, size: int) -> dict[str, int]:
    names = ("train", "val", "compose") if spec == "emoji" else ("train", "val")
    found = {name: open_data(spec, size=size, split=name) for name in names}
    return {name: len(part) for name, part in found.items() if isinstance(part, Dataset)}


def _describe_stream(spec: str, size: int) -> dict[str, Any]:
    stream = ShardStream(spec, Transform(size), buffer=1)
    first = list(islice(stream.samples(0, 0), EXAMPLES))
    return {
        "name": stream.name,
        "fingerprint": stream.fingerprint,
        "count": None,
        "shards": len(stream.urls),
        "captions": sum(sample.caption != "" for sample in first),
        "label_sets": {},
        "checked": len(first) + len(stream.corrupt),
        "corrupt": len(stream.corrupt),
        "corrupt_names": list(stream.corrupt)[:EXAMPLES],
        "examples": [sample.caption for sample in first],
        "splits": {},
    }
