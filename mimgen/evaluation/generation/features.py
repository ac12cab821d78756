"""Features of a set of images, gathered in one pass, and their files.

A file holds the statistics of a reference set once and for all, with a key that says of what; a
metric refuses one that was made with another extractor, layer, resizing or weights.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mimgen.errors import UserError
from mimgen.evaluation.generation.extractors import Extracted, Extractor
from mimgen.evaluation.generation.images import ImageSource
from mimgen.evaluation.generation.statistics import Moments, merge_all, over_ranks, rows_over_ranks
from mimgen.files import new_file
from mimgen.ops.distributed import world_size

_FORMAT = "mimgen-generation-statistics-1"


@dataclass(frozen=True)
class FeatureSet:
    """What metrics need to know about a set of n images.

    Attributes:
        key: extractor, layer, weights and resize; see `Extractor.key`.
        source: name, fingerprint, transform and size of the images.
        moments: their mean and covariance.
        features: [n, F] in the order of the images, which KID and PRC need; None where not kept.
        logits: [n, classes], which the inception score needs; None where not kept.
    """

    key: Mapping[str, str]
    source: Mapping[str, Any]
    moments: Moments
    features: Tensor | None = None
    logits: Tensor | None = None

    @property
    def count(self) -> int:
        """n."""
        return self.moments.count


def measure_images(
    source: ImageSource, extractor: Extractor, *, keep: bool = False, batch_size: int = 64
) -> FeatureSet:
    """Read all images once, each process of a launch its contiguous share.

    Args:
        source: the images.
        extractor: makes the features; its logits, where it gives them, are kept.
        keep: also keep the features themselves, 4 n F bytes (8 n F for float64 ones).
        batch_size: images at a time. Networks round differently at other sizes.

    Returns:
        the same on every process.

    Raises:
        UserError: images that cannot be read, or features that are not finite.
    """
    first, stop = share_of_rank(source.count)
    moments: list[Moments] = []
    features: list[Tensor] = []
    logits: list[Tensor] = []
    size: list[int] = []
    for start in range(first, stop, batch_size):
        images = source.read(start, min(start + batch_size, stop))
        size = size or [int(side) for side in images.shape[-2:]]
        found: Extracted = extractor(images)
        moments.append(Moments.of(found.features))
        if keep:
            features.append(found.features)
        if found.logits is not None:
            logits.append(found.logits)
    facts = {"name": source.name, "fingerprint": source.fingerprint, "transform": source.transform, "size": size}
    return FeatureSet(
        extractor.key,
        facts,
        over_ranks(merge_all(moments) if moments else None),
        rows_over_ranks(torch.cat(features) if features else None),
        rows_over_ranks(torch.cat(logits) if logits else None),
    )


def share_of_rank(count: int) -> tuple[int, int]:
    """First and last + 1 of the contiguous share of `count` images that this process measures."""
    world = world_size()
    rank = torch.distributed.get_rank() if world > 1 else 0
    return count * rank // world, count * (rank + 1) // world


def save_features(found: FeatureSet, path: str | Path) -> Path:
    """Write a set as .safetensors, complete or not at all; logits are left out, only samples need them.

    Raises:
        UserError: another file ending.
    """
    from safetensors.torch import save_file

    target = Path(path)
    if target.suffix != ".safetensors":
        raise UserError(f"reference statistics are .safetensors files, not {target.name}")
    target.parent.mkdir(parents=True, exist_ok=True)
    tensors = {"mean": found.moments.mean, "scatter": found.moments.scatter}
    if found.features is not None:
        tensors["features"] = found.features.contiguous()
    header = {"key": dict(found.key), "source": dict(found.source), "count": found.count}
    with new_file(target) as temporary:
        save_file(tensors, str(temporary), metadata={"format": _FORMAT, "about": json.dumps(header)})
    return target


def load_features(path: str | Path) -> FeatureSet:
    """Read what `save_features` wrote.

    Raises:
        UserError: no such file, or one of another kind or damaged.
    """
    from safetensors import SafetensorError, safe_open

    file = Path(path)
    if not file.is_file():
        raise UserError(f"no reference statistics at {file}")
    try:
        with safe_open(str(file), "pt") as loaded:
            head = loaded.metadata() or {}
            names = loaded.keys()
            tensors = {name: loaded.get_tensor(name) for name in names}
        if head.get("format") != _FORMAT:
            raise UserError(f"{file} holds no statistics of images; make them with --save-reference")
        header = json.loads(head["about"])
        moments = Moments(int(header["count"]), tensors["mean"], tensors["scatter"])
        return FeatureSet(header["key"], header["source"], moments, tensors.get("features"))
    except (SafetensorError, OSError, ValueError, LookupError, TypeError) as error:
        raise UserError(f"{file} is damaged ({error}); make it again with --save-reference") from error


def check_same_features(samples: FeatureSet, references: FeatureSet) -> None:
    """Refuse to compare features of different kinds.

    Raises:
        UserError: naming each part of the key that differs.
    """
    names = sorted({*samples.key, *references.key})
    differ = [
        f"{name} ({samples.key.get(name)} against {references.key.get(name)})"
        for name in names
        if samples.key.get(name) != references.key.get(name)
    ]
    if differ:
        raise UserError(
            f"samples and references {references.source.get('name')} were measured differently: "
            f"{', '.join(differ)}; measure both with one extractor"
        )
    if samples.moments.dimensions != references.moments.dimensions:
        raise UserError(
            f"samples have {samples.moments.dimensions} features and references "
            f"{references.moments.dimensions}, though both say {dict(samples.key)}; make the statistics again"
        )
