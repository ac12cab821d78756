"""Probes over folds of all pictures of train: twenty times as many tests as `val` has, for small differences."""

from __future__ import annotations

from mimgen.recipes.compare.probes_row import Asked, candidates, chosen_layer

__all__ = ["FOLDS", "fold_of", "folds"]

FOLDS = 5


def folds(asked: Asked) -> dict[str, dict[str, float]]:
    """Accuracy of every probe of `asked`, each picture of train tested once by probes that were fitted without it.

    The encoder has seen the pictures, never a label, and so has every other that it is compared with. Pictures of one
    family (an emoji in its skin tones) are in one fold, so that none is found by its twin. The layer is chosen in
    each fold anew, on its training part.

    Returns:
        {"values": {"knn, folds": accuracy, ...}} with a name for each probe.
    """
    import torch

    from mimgen.probing import kinds
    from mimgen.probing.data import probe_data
    from mimgen.probing.open import features_of, open_encoder

    opened = open_encoder(asked.spec, asked.pixels)
    data = probe_data(asked.data, opened.pixels, limit=asked.limit)
    levels = features_of(
        opened, data.train, data=asked.data, split="train", layers=candidates(opened.encoder.depth), cache=asked.cache
    ).levels
    places = torch.tensor([fold_of(caption) for caption in data.train.captions])
    hits = dict.fromkeys(asked.probes, 0.0)
    for fold in range(FOLDS):
        fitted, tested = places != fold, places == fold
        labels = (data.train_y[fitted], data.train_y[tested])
        parts = [{layer: x[part] for layer, x in levels.items()} for part in (fitted, tested)]
        layer = chosen_layer(parts[0], parts[1], labels, asked.seed)
        for name in asked.probes:
            found = kinds.run(name, (parts[0][layer], labels[0]), (parts[1][layer], labels[1]), seed=asked.seed).result
            hits[name] += found.accuracy * len(labels[1])
    return {"values": {f"{name}, folds": count / len(places) for name, count in hits.items()}}


def fold_of(caption: str) -> int:
    """The fold of a caption's family, 0 to `FOLDS` - 1; the same on every machine."""
    import zlib

    from mimgen.data.builtin.emoji_names import skin_tones

    return zlib.crc32(skin_tones(caption).role.encode()) % FOLDS
