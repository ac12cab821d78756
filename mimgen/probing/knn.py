"""k-NN: how much of a label is in the neighbourhoods of a feature space, with nothing trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from mimgen.errors import UserError
from mimgen.probing.probe_split import ProbeResult, ProbeSplit

__all__ = ["Neighbours", "knn_probe", "neighbours", "vote"]

# Similarities held at a time: 2^24 float32 numbers are 64 MiB.
_SIMILARITIES = 2**24
_VALIDATED = 2000


@dataclass(frozen=True)
class Neighbours:
    """The nearest images of each query, nearest first.

    Attributes:
        similarity: [m, k] float32 cosine.
        index: [m, k] int64 positions among the keys.
    """

    similarity: Tensor
    index: Tensor


def knn_probe(
    train_x: Tensor,
    train_y: Tensor,
    test_x: Tensor,
    test_y: Tensor,
    *,
    seed: int,
    ks: Sequence[int] = (20,),
    temperatures: Sequence[float] = (0.07,),
) -> ProbeResult:
    """Weighted vote of the k nearest training images by cosine (Wu et al. 2018, section 3.4).

    A neighbour with similarity s votes with weight exp(s / temperature). k and temperature are those
    with the best leave-one-out accuracy on at most 2000 training images (ties go to the first
    listed); that accuracy is the result's `validation`.

    Args:
        train_x: [n, F] features.
        train_y: [n] integer labels, none negative.
        test_x: [m, F].
        test_y: [m]; labels that train lacks count as wrong.
        seed: determines the training images of the leave-one-out accuracy, if there are more than 2000.
        ks: numbers of neighbours to choose from; more than n - 1 means n - 1.
        temperatures: to choose from.

    Raises:
        UserError: as `ProbeSplit.check`; k or temperature not above 0.
    """
    if not ks or not temperatures or min(ks) < 1 or min(temperatures) <= 0:
        raise UserError(f"k-NN: k must be at least 1 and temperatures above 0, got {ks} and {temperatures}")
    probe_split = ProbeSplit.check(train_x, train_y, test_x, test_y, minimum=2)
    maximum = min(max(ks), len(train_x) - 1)  # in the search on train an image is not its own neighbour
    held, _ = probe_split.holdout(seed, 1.0, _VALIDATED)
    near = neighbours(train_x[held], train_x, maximum, skip=held)
    found, classes = neighbours(test_x, train_x, maximum), probe_split.train
    best, chosen, limit = -1.0, temperatures[0], maximum
    for k in ks:
        for temperature in temperatures:
            voted = vote(near, classes, probe_split.count, temperature, k)
            share = float((voted == classes[held]).double().mean())
            if share > best:
                best, chosen, limit = share, temperature, min(k, maximum)
    predicted = vote(found, classes, probe_split.count, chosen, limit)
    return probe_split.score(predicted, "knn", validation=best, details={"k": limit, "temperature": chosen})


@torch.no_grad()
def neighbours(queries: Tensor, keys: Tensor, k: int, *, skip: Tensor | None = None) -> Neighbours:
    """The k keys with the highest cosine similarity to each query, exactly, without an m x n matrix.

    A few queries meet all keys at a time. The best k of a row lie in the k of its blocks with the
    highest maxima, so that only these are searched.

    Args:
        queries: [m, F] on the CPU or a GPU; all-zero features are similar to nothing (cosine 0).
        keys: [n, F]; may be a memory map.
        k: from 1 to n (n - 1 with `skip`).
        skip: [m] for each query the position of a key that does not count: the query itself.

    Raises:
        UserError: k is out of range, or the widths differ.
    """
    count = len(keys)
    if not 1 <= k <= count - (skip is not None):
        raise UserError(f"k-NN: {k} neighbours were asked for, there are {count - (skip is not None)}")
    if queries.shape[1] != keys.shape[1]:
        raise UserError(f"k-NN: keys have {keys.shape[1]} features, queries {queries.shape[1]}")
    # balances the two searches, n / block maxima and k * block candidates
    block = max(1, int((count / k) ** 0.5))
    blocks = -(-count // block)
    normal = _normal(keys, block * blocks, queries.device)
    rows = max(1, _SIMILARITIES // len(normal))
    parts = []
    for start in range(0, len(queries), rows):
        part = F.normalize(queries[start : start + rows].float(), dim=1)  # [rows, F]
        similarity = part @ normal.T  # [rows, n and padding]
        similarity[:, count:] = -torch.inf  # padding is nobody's neighbour
        if skip is not None:
            similarity.scatter_(1, skip[start : start + rows, None].to(similarity.device), -torch.inf)
        parts.append(_best(similarity, k, blocks))
    return Neighbours(torch.cat([part[0] for part in parts]), torch.cat([part[1] for part in parts]))


def vote(near: Neighbours, classes: Tensor, count: int, temperature: float, k: int | None = None) -> Tensor:
    """[m] int64 class with the most weight among the first k neighbours, each weighing exp(s / temperature).

    Args:
        near: neighbours of m queries.
        classes: [n] int64 class of each key, 0 to count - 1.
        count: number of classes C.
        temperature: low values leave the say to the nearest.
        k: neighbours that vote; all by default.
    """
    similarity, index = near.similarity[:, :k], near.index[:, :k]
    # Less the row's largest, which changes no winner, so that low temperatures do not overflow.
    weights = ((similarity - similarity[:, :1]) / temperature).exp()
    neighbour_classes = classes.to(index.device)[index]  # [m, k]
    winners = [
        torch.zeros(len(part), count, device=part.device).scatter_add_(1, names, part).argmax(1)
        for part, names in zip(weights.split(4096), neighbour_classes.split(4096))
    ]
    return torch.cat(winners)


def _normal(keys: Tensor, length: int, device: torch.device) -> Tensor:
    """[length, F] float32 keys of length 1, zeros after the last."""
    normal = torch.zeros(length, keys.shape[1], device=device)
    for start in range(0, len(keys), 4096):
        part = keys[start : start + 4096].to(device).float()
        normal[start : start + len(part)] = F.normalize(part, dim=1)
    return normal


def _best(similarity: Tensor, k: int, blocks: int) -> tuple[Tensor, Tensor]:
    """The k largest of each row and their positions; block j holds the positions j, j + blocks, ..."""
    if blocks <= k:
        best = similarity.topk(k, dim=1)
        return best.values, best.indices
    grouped = similarity.unflatten(1, (-1, blocks))  # [rows, block, blocks]
    # exact: the k largest lie in the k blocks with the largest maxima; [rows, k]
    chosen = grouped.amax(1).topk(k, dim=1, sorted=False).indices
    inside = torch.arange(grouped.shape[1], device=similarity.device) * blocks
    positions = (chosen[:, :, None] + inside).flatten(1)  # [rows, k block]
    best = similarity.gather(1, positions).topk(k, dim=1)
    return best.values, positions.gather(1, best.indices)
