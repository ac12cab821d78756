"""Probes of any encoder at its best layer: on held-out images, or on every training image by folds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mimgen.errors import UserError
from mimgen.probing.probes import check_probes, fit_probe, probes_that_read

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = [
    "FOLDS", "ProbeRequest", "candidate_layers", "choose_layer", "fold_of", "frozen_probes", "probe_and_finetune",
    "probe_best_layer", "probe_folds",
]  # fmt: skip

FOLDS = 5
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


def frozen_probes(names: Sequence[str]) -> tuple[str, ...]:
    """The names, if they are of probes that read frozen features.

    Raises:
        UserError: an unknown name, or a probe that trains the encoder or labels pixels.
    """
    chosen = check_probes(names)
    if not set(chosen) <= {*probes_that_read("vectors", "tokens")}:
        raise UserError("--probes: only frozen features are read here; leave fine-tune and segmentation out")
    return chosen


def probe_best_layer(request: ProbeRequest) -> dict[str, Any]:
    """Extract features, choose a layer on train alone, run every probe.

    Returns:
        JSON: accuracy of each probe, the layer, what was found out about encoder and data, seconds of the
        probes.
    """
    import time

    from mimgen.probing.data import probe_data
    from mimgen.probing.open import features_of, open_encoder

    loaded = open_encoder(request.spec, request.pixels)
    data = probe_data(request.data, loaded.pixels, limit=request.limit)
    labels = (data.train_y, data.test_y)
    tried = candidate_layers(loaded.encoder.depth)
    vectors = [
        features_of(loaded, part, data=request.data, split=split, layers=tried, cache=request.cache)
        for part, split in ((data.train, "train"), (data.test, "val"))
    ]
    layer, features = choose_layer(vectors[0].levels, vectors[1].levels, labels, request.seed), 0
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


def candidate_layers(depth: int) -> tuple[int, ...]:
    """At most `_LAYERS` blocks, evenly spread, and the output (`depth`)."""
    count = min(_LAYERS, depth)
    return (*dict.fromkeys(round((position + 1) * depth / count) - 1 for position in range(count)), depth)


def choose_layer(
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


def probe_folds(request: ProbeRequest) -> dict[str, Any]:
    """Accuracy of every probe of `request`, each image of train tested once by probes that were fitted without it.

    The encoder has seen the images, never a label, and so has every other that it is compared with. Images of one
    family (an emoji in its skin tones) are in one fold, so that none is found by its twin. The layer is chosen in
    each fold anew, on its training part.

    Returns:
        JSON: accuracy of each probe, and correct: for each probe a string with 1 for every image of train whose label
        is predicted, else 0, so that two encoders can be compared image by image.
    """
    import torch

    from mimgen.probing.data import probe_data
    from mimgen.probing.open import features_of, open_encoder

    loaded = open_encoder(request.spec, request.pixels)
    data = probe_data(request.data, loaded.pixels, limit=request.limit)
    levels = features_of(
        loaded,
        data.train,
        data=request.data,
        split="train",
        layers=candidate_layers(loaded.encoder.depth),
        cache=request.cache,
    ).levels
    positions = torch.tensor([fold_of(caption) for caption in data.train.captions])
    accuracy = dict.fromkeys(request.probes, 0.0)
    correct = {name: torch.zeros(len(positions), dtype=torch.int64) for name in request.probes}
    for fold in range(FOLDS):
        fitted, tested = positions != fold, positions == fold
        labels = (data.train_y[fitted], data.train_y[tested])
        parts = [{layer: x[part] for layer, x in levels.items()} for part in (fitted, tested)]
        layer = choose_layer(parts[0], parts[1], labels, request.seed)
        for name in request.probes:
            found = fit_probe(
                name, (parts[0][layer], labels[0]), (parts[1][layer], labels[1]), seed=request.seed
            ).result
            accuracy[name] += found.accuracy * len(labels[1])
            assert found.correct is not None
            correct[name][tested] = found.correct.long()
    return {
        "accuracy": {name: count / len(positions) for name, count in accuracy.items()},
        "correct": {name: "".join(map(str, each.tolist())) for name, each in correct.items()},
    }


def fold_of(caption: str) -> int:
    """The fold of a caption's family, 0 to `FOLDS` - 1; the same on every machine."""
    import zlib

    from mimgen.data.builtin.emoji_names import skin_tones

    return zlib.crc32(skin_tones(caption).role.encode()) % FOLDS


def probe_and_finetune(
    encoder: nn.Module, train: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor], *, seed: int, epochs: int
) -> dict[str, Any]:
    """Linear probe on the mean of patch tokens, and fine-tuning, on the same images [n, 3, S, S] and labels [n].

    Returns:
        JSON: probe and finetune (accuracies; null for 0 epochs), majority, label_n and val_n (images).
    """
    from mimgen.probing.features import extract
    from mimgen.probing.finetune import FineTune, fine_tune
    from mimgen.probing.linear import linear_probe

    x, points = (extract(encoder, images).joined for images, _ in (train, test))  # type: ignore[arg-type]
    found = linear_probe(x, train[1], points, test[1], seed=seed)
    tuned = None
    if epochs:
        settings = FineTune(epochs=epochs, warmup_epochs=min(2.0, epochs / 4))
        tuned = fine_tune(encoder, *train, *test, seed=seed, settings=settings).accuracy
    return {"probe": found.accuracy, "finetune": tuned, "majority": found.majority, "label_n": found.n,
            "val_n": found.test_n}  # fmt: skip
