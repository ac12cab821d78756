"""Probes over folds of all images of train: twenty times as many tests as `val` has, for small differences."""

from __future__ import annotations

from mimgen.recipes.compare.probes_row import ProbeRequest, candidates, chosen_layer

__all__ = ["FOLDS", "fold_of", "folds"]

FOLDS = 5


def folds(request: ProbeRequest) -> dict[str, dict[str, float]]:
    """Accuracy of every probe of `request`, each image of train tested once by probes that were fitted without it.

    The encoder has seen the images, never a label, and so has every other that it is compared with. Images of one
    family (an emoji in its skin tones) are in one fold, so that none is found by its twin. The layer is chosen in
    each fold anew, on its training part.

    Returns:
        {"values": {"knn, folds": accuracy, ...}} with a name for each probe.
    """
    import torch

    from mimgen.probing import fit_probe, probe_data
    from mimgen.probing.open import features_of, open_encoder

    loaded = open_encoder(request.spec, request.pixels)
    data = probe_data(request.data, loaded.pixels, limit=request.limit)
    levels = features_of(
        loaded,
        data.train,
        data=request.data,
        split="train",
        layers=candidates(loaded.encoder.depth),
        cache=request.cache,
    ).levels
    positions = torch.tensor([fold_of(caption) for caption in data.train.captions])
    correct = dict.fromkeys(request.probes, 0.0)
    for fold in range(FOLDS):
        fitted, tested = positions != fold, positions == fold
        labels = (data.train_y[fitted], data.train_y[tested])
        parts = [{layer: x[part] for layer, x in levels.items()} for part in (fitted, tested)]
        layer = chosen_layer(parts[0], parts[1], labels, request.seed)
        for name in request.probes:
            found = fit_probe(
                name, (parts[0][layer], labels[0]), (parts[1][layer], labels[1]), seed=request.seed
            ).result
            correct[name] += found.accuracy * len(labels[1])
    return {"values": {f"{name}, folds": count / len(positions) for name, count in correct.items()}}


def fold_of(caption: str) -> int:
    """The fold of a caption's family, 0 to `FOLDS` - 1; the same on every machine."""
    import zlib

    from mimgen.data.builtin.emoji_names import skin_tones

    return zlib.crc32(skin_tones(caption).role.encode()) % FOLDS
