"""One row of `mimgen compare probes`: an encoder, a data set, a seed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mimgen.probing.probes import probes_that_read

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["TRAINED", "ProbeRequest", "candidates", "chosen_layer", "row"]

TRAINED = "train:"  # before the name of a config
PATCH = 8  # pixels of the patches of raw pixels and gradients, for probes that read patches
_LAYERS = 4  # layers tried besides the output


@dataclass(frozen=True)
class ProbeRequest:
    """What a row measures.

    Attributes:
        spec: the encoder, as `mimgen.probing.open.open_encoder` takes it.
        data: the data set.
        pixels: side of the images.
        probes: names.
        seed: of the probes.
        limit: only so many images of each split.
        cache: folder of the features.
    """

    spec: str
    data: str
    pixels: int
    probes: tuple[str, ...]
    seed: int
    limit: int | None
    cache: Path


def row(request: ProbeRequest) -> dict[str, Any]:
    """Extract features, choose a layer on train alone, run every probe.

    Returns:
        JSON: accuracy of each probe, the layer, what was found out about encoder and data, seconds of the
        probes.
    """
    import time

    from mimgen.probing import fit_probe, probe_data
    from mimgen.probing.open import features_of, open_encoder

    loaded = open_encoder(request.spec, request.pixels)
    data = probe_data(request.data, loaded.pixels, limit=request.limit)
    labels = (data.train_y, data.test_y)
    tried = candidates(loaded.encoder.depth)
    vectors = [
        features_of(loaded, part, data=request.data, split=split, layers=tried, cache=request.cache)
        for part, split in ((data.train, "train"), (data.test, "val"))
    ]
    layer, features = chosen_layer(vectors[0].levels, vectors[1].levels, labels, request.seed), 0
    accuracy, balanced_accuracy, seconds, majority = {}, {}, {}, 0.0
    for name in request.probes:
        raw = request.spec in ("pixels", "hog") and name not in probes_that_read("vectors")
        reader = open_encoder(f"{request.spec}:{PATCH}", request.pixels) if raw else loaded
        x, points = (each.levels[layer] for each in vectors)
        grid = None
        if name not in probes_that_read("vectors"):
            found = [
                features_of(reader, part, data=request.data, split=split, layers=(layer,), pooling="tokens",
                            cache=request.cache)
                for part, split in ((data.train, "train"), (data.test, "val"))
            ]  # fmt: skip
            (x, points), grid = (each.levels[layer] for each in found), found[0].grid
        start = time.perf_counter()
        result = fit_probe(name, (x, labels[0]), (points, labels[1]), seed=request.seed, grid=grid).result
        accuracy[name], balanced_accuracy[name], majority = result.accuracy, result.balanced_accuracy, result.majority
        seconds[name] = round(time.perf_counter() - start, 2)
        features = features or result.features
    return {
        "accuracy": accuracy,
        "balanced_accuracy": balanced_accuracy,
        "majority": majority,
        "layer": "output" if layer == loaded.encoder.depth else layer,
        "features": features,
        "seconds": seconds,
        "encoder": {**loaded.facts, "digest": loaded.digest},
        "label": data.label,
        "classes": len(data.train_y.unique()),
        **{key: data.facts[key] for key in ("n", "test_n", "pixels", "fingerprints")},
        "notes": list(data.notes),
    }


def candidates(depth: int) -> tuple[int, ...]:
    """At most `_LAYERS` blocks, evenly spread, and the output (`depth`)."""
    count = min(_LAYERS, depth)
    return (*dict.fromkeys(round((position + 1) * depth / count) - 1 for position in range(count)), depth)


def chosen_layer(
    train: Mapping[int, Tensor], test: Mapping[int, Tensor], labels: tuple[Tensor, Tensor], seed: int
) -> int:
    """The layer whose linear probe does best on a fifth of train; of equals the last.

    Args:
        train: features [n, F] of each layer.
        test: features [m, F] of each layer; what they say is not looked at.
        labels: [n] and [m].
        seed: of the fifth.
    """
    from mimgen.probing.linear import linear_probe

    if len(train) == 1:
        return int(next(iter(train)))
    found = {layer: linear_probe(x, labels[0], test[layer], labels[1], seed=seed) for layer, x in train.items()}
    scores = {layer: result.validation or 0.0 for layer, result in found.items()}
    return max(scores, key=lambda layer: (scores[layer], layer))
