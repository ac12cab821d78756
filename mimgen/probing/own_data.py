"""Measures of objectives for other data: two views, people, bands, volumes; see `objective_measures`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mimgen.probing.objective_measures import HeldOut, ridge
from mimgen.types import Batch

__all__ = [
    "band_prediction",
    "clouds",
    "disparity",
    "mean_precision",
    "organs",
    "people",
    "second_view",
]  # fmt: skip

_BATCH = 64
_LEVELS = tuple(0.04 * step for step in range(1, 13))


def second_view(objective: nn.Module, samples: HeldOut) -> dict[str, float]:
    """Error of masked patches with the true second view, with another scene's and with none; CroCo alone.

    "second view" is the share of the error with another scene's view that the true one takes away.
    """
    from mimgen.encoders.vit import IMAGENET_MEAN
    from mimgen.methods.croco.objective import CroCo

    if not isinstance(objective, CroCo):
        return {}
    batch = samples(256)
    second = batch.extras["second"]
    mask = objective.mask(batch)
    blank = torch.tensor(IMAGENET_MEAN)[:, None, None].expand_as(second)
    shown = {"true": second, "another scene's": second.roll(1, 0), "blank": blank}
    batches = {name: replace(batch, extras={**batch.extras, "second": view}) for name, view in shown.items()}
    errors = {name: float(objective(each, mask).total) for name, each in batches.items()}
    helped = 1 - errors["true"] / errors["another scene's"]
    return {"second view": helped, **{f"error, {name} view": error for name, error in errors.items()}}


def disparity(objective: nn.Module, samples: HeldOut) -> dict[str, float]:
    """Share of the variance of a patch's disparity that a linear map of frozen features explains, on held-out scenes.

    From one view: the encoder's tokens. From both: CroCo's decoder's output for every patch when nothing is masked.
    """
    from mimgen.methods.croco.objective import CroCo

    model = cast(Any, objective)
    sides = [samples(count, split) for count, split in ((400, "train"), (200, "val"))]
    readers = {"disparity, one view": lambda part: model.encoder(part.images).patches}
    if isinstance(objective, CroCo):
        readers["disparity, both views"] = lambda part: model.complete(part.images, part.extras["second"])
    found = {}
    for name, reader in readers.items():
        x, points = (torch.cat([reader(part) for part in parts_of(side)]) for side in sides)
        cells = round(x.shape[1] ** 0.5)
        y, true = (F.adaptive_avg_pool2d(side.extras["disparity"], cells).flatten()[:, None] for side in sides)
        predicted = ridge(x.flatten(0, 1), y, points.flatten(0, 1))
        found[name] = explained(predicted, true)
    return found


def people(objective: nn.Module, samples: HeldOut) -> dict[str, float]:
    """Colours of garments read linearly off the class token, and people found again in another pose by it.

    "attributes" is the mean accuracy over garments of people never seen; "identity" the mean average precision.
    """
    from mimgen.data.builtin.figures import WORN
    from mimgen.probing import extract, linear_probe

    encoder = cast(Any, objective).encoder
    sides = [samples(count, split) for count, split in ((1500, "train"), (800, "val"))]
    x, points = (next(iter(extract(encoder, side.images, pooling="prefix").levels.values())) for side in sides)
    garments = [
        linear_probe(x, sides[0].labels[name], points, sides[1].labels[name], seed=samples.seed).accuracy
        for name in WORN
    ]
    identity = mean_precision(points, sides[1].labels["identity"])
    return {"attributes": sum(garments) / len(garments), "identity": identity}


def mean_precision(vectors: Tensor, identity: Tensor) -> float:
    """Mean average precision of finding those of the same identity [n] by the cosine of vectors [n, F].

    Each row asks once, for all others; those whose identity nobody shares do not.
    """
    unit = F.normalize(vectors.double(), dim=-1)
    scores = (unit @ unit.T).fill_diagonal_(-2.0)
    order = scores.argsort(dim=1, descending=True, stable=True)[:, :-1]  # the row itself comes last
    correct = (identity[order] == identity[:, None]).double()
    ranks = torch.arange(1, correct.shape[1] + 1)
    asking = correct.sum(1) > 0
    precision = (correct.cumsum(1) / ranks * correct).sum(1)[asking] / correct.sum(1)[asking]
    return float(precision.mean())


def clouds(objective: nn.Module, samples: HeldOut) -> dict[str, float]:
    """Cloud read linearly off frozen features with 200 labelled scenes: its profile and how much there is.

    "profile" is intersection over union of cloud in layers of height down the middle column, from the tokens on
    both sides of it; "missed" the share of cloud that is not found; "cover" accuracy of four classes.
    """
    from mimgen.probing import extract, linear_probe

    encoder = cast(Any, objective).encoder
    sides = [samples(count, split) for count, split in ((200, "train"), (400, "val"))]
    found = [extract(encoder, side.images, pooling="tokens") for side in sides]
    tokens = [next(iter(each.levels.values())) for each in found]
    rows, columns = cast(tuple[int, int], found[0].grid)
    beside = [each.unflatten(1, (rows, columns))[:, :, columns // 2 - 1 : columns // 2 + 1] for each in tokens]
    x, points = (each.flatten(2).flatten(0, 1) for each in beside)
    # a token's row says where there is cloud in its own rows of pixels
    profiles = [side.extras["profile"].unflatten(2, (rows, -1)) for side in sides]
    y, true = (each.transpose(1, 2).flatten(2).flatten(0, 1) for each in profiles)
    predicted, there = ridge(x, y, points, 1e-2) > 0.5, true > 0.5
    cover = linear_probe(tokens[0].mean(1), sides[0].labels["cover"], tokens[1].mean(1), sides[1].labels["cover"],
                         seed=samples.seed)  # fmt: skip
    both, either = float((predicted & there).sum()), float((predicted | there).sum())
    return {"profile": both / max(1.0, either), "cover": cover.accuracy, "missed": 1 - both / float(there.sum())}


def band_prediction(objective: nn.Module, samples: HeldOut) -> dict[str, float]:
    """Share of each band's variance that the reconstruction of masked patches explains: mean and worst over bands."""
    model, batch = cast(Any, objective), samples(256)
    mask = model.mask(batch)
    predicted, true = model.predict(batch, mask), model.target(batch.images)
    masked, bands = mask.masked, batch.images.shape[1]
    # a patch's numbers lie band by band
    pairs = [each[masked].unflatten(-1, (bands, -1)).transpose(0, 1).flatten(1) for each in (predicted, true)]
    shares = [explained(a, b) for a, b in zip(*pairs, strict=True)]
    return {"explained, mean band": sum(shares) / bands, "explained, worst band": min(shares)}


def organs(objective: nn.Module, samples: HeldOut) -> dict[str, float]:
    """Dice of organs, predicted for each voxel by a linear map of its cell's token, averaged over organs.

    "dice" is that of the encoder's output, "dice, middle" of the block in the middle. Organs are few of the voxels,
    so the threshold is chosen on the training volumes.
    """
    from mimgen.methods.hiendmae.cells import cut

    encoder = cast(Any, objective).encoder
    sides = [samples(count, split) for count, split in ((80, "train"), (100, "val"))]
    labels = [cut(side.extras["segmentation"][:, None], encoder.cell).flatten(0, 1).long() for side in sides]
    classes = int(labels[0].max()) + 1
    wanted = F.one_hot(labels[0], classes).float().flatten(1)
    found = {}
    tokens = [[encoder(part.images, layers=(encoder.depth // 2,)) for part in parts_of(side)] for side in sides]
    readers = {"dice": lambda token: token.patches, "dice, middle": lambda token: token.levels[0]}
    for name, reader in readers.items():
        x, points = (torch.cat([reader(token) for token in side]).flatten(0, 1) for side in tokens)
        scores = ridge(x, wanted, torch.cat([x, points])).unflatten(1, (-1, classes))
        known, predicted = scores.split([len(x), len(points)])
        level = max(_LEVELS, key=lambda level: dice(_organ(known, level), labels[0], classes))
        found[name] = dice(_organ(predicted, level), labels[1], classes)
    return found


def _organ(scores: Tensor, level: float) -> Tensor:
    """[..., C] to [...]: the class of the largest score, 0 where that of no organ is above `level`."""
    best, organ = scores[..., 1:].max(-1)
    return torch.where(best > level, organ + 1, 0)


def dice(predicted: Tensor, true: Tensor, classes: int) -> float:
    """Mean over classes 1 and up of 2 |both| / (|predicted| + |true|), counted over all voxels together."""
    scores = []
    for kind in range(1, classes):
        a, b = predicted == kind, true == kind
        scores.append(2 * float((a & b).sum()) / max(1.0, float(a.sum() + b.sum())))
    return sum(scores) / len(scores)


def explained(predicted: Tensor, true: Tensor) -> float:
    """Share of the variance of `true` that `predicted`, of the same shape, explains.

    Negative where the mean of `true` explains more.
    """
    predicted, true = predicted.double(), true.double()
    return float(1 - (predicted - true).square().sum() / (true - true.mean()).square().sum())


def parts_of(batch: Batch) -> Sequence[Batch]:
    """The batch in pieces, images and extras."""
    pieces = []
    for start in range(0, len(batch), _BATCH):
        rows = slice(start, start + _BATCH)
        extras = {name: values[rows] for name, values in batch.extras.items()}
        pieces.append(replace(batch, images=batch.images[rows], extras=extras))
    return pieces
