"""What patch tokens know about positions: labels of pixels read off frozen patches, by k-NN or by one linear map."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from mimgen.errors import UserError

__all__ = ["SegmentationResult", "knn_segmentation", "linear_segmentation", "mean_iou", "patch_shares"]

IGNORED = -1
_ROWS = 4096  # patches handled together


@dataclass(frozen=True)
class SegmentationResult:
    """Outcome of labelling the pixels of the test images.

    Attributes:
        miou: mean over classes of intersection over union, counted over all test pixels together.
        accuracy: share of pixels whose class is predicted.
        majority: that share for always saying the most frequent class of train.
        iou: intersection over union of each class that occurs in the test masks or the predictions.
        n: training images.
        test_n: test images.
        probe: which probe it was.
        details: the probe's own settings.
        predicted: [test_n, H, W] int64 class of each pixel; not part of the JSON form.
    """

    miou: float
    accuracy: float
    majority: float
    iou: Mapping[int, float]
    n: int
    test_n: int
    probe: str
    details: Mapping[str, Any] = field(default_factory=dict)
    predicted: Tensor | None = field(default=None, compare=False, repr=False)

    def as_dict(self) -> dict[str, Any]:
        """JSON form."""
        return {each.name: getattr(self, each.name) for each in fields(self) if each.name != "predicted"}


def patch_shares(masks: Tensor, grid: tuple[int, int], classes: int) -> Tensor:
    """Share of each class among the pixels of a patch that are not ignored.

    Args:
        masks: [n, H, W] int64 classes of pixels, -1 to ignore.
        grid: rows and columns of patches; H and W are multiples of them.
        classes: number of classes C.

    Returns:
        [n, N, C] float32, rows sum to 1, or to 0 where every pixel is ignored.

    Raises:
        UserError: pixels do not divide into the grid.
    """
    rows, columns = grid
    height, width = masks.shape[-2:]
    if height % rows or width % columns:
        raise UserError(
            f"segmentation: masks of {height} x {width} pixels do not divide into {rows} x {columns} patches; "
            "give masks at the size of the images"
        )
    parts = []
    for part in masks.split(64):
        cells = part.unflatten(1, (rows, -1)).unflatten(3, (columns, -1)).transpose(2, 3).flatten(3).flatten(1, 2)
        counts = F.one_hot(cells + 1, classes + 1).sum(2)[..., 1:].float()  # the first column counts the ignored
        parts.append(counts / counts.sum(-1, keepdim=True).clamp(min=1))  # [b, N, C]
    return torch.cat(parts)


def knn_segmentation(
    train_x: Tensor,
    train_masks: Tensor,
    test_x: Tensor,
    test_masks: Tensor,
    *,
    grid: tuple[int, int],
    k: int = 20,
    temperature: float = 0.07,
    seed: int = 0,
    maximum: int = 100_000,
) -> SegmentationResult:
    """Each test patch takes the classes of the k most similar training patches.

    Similarity is the cosine s; neighbours vote with exp(s / temperature) for the share of each class in
    them (weights as in the k-NN of Wu et al. 2018, arXiv 1805.01978). The scores of patches are
    interpolated bilinearly to pixels, and the largest wins.

    Args:
        train_x: [n, N, D] patch tokens, N = rows * columns.
        train_masks: [n, H, W] int64 classes, -1 to ignore.
        test_x: [m, N, D].
        test_masks: [m, H, W].
        grid: rows and columns of the patches.
        k: neighbours.
        temperature: of the votes.
        seed: determines the training patches where there are more than `maximum`.
        maximum: training patches at most.

    Raises:
        UserError: shapes do not fit, features that are not finite, masks with a single class, k or
            temperature out of range.
    """
    if k < 1 or temperature <= 0:
        raise UserError(f"segmentation: k = {k} and temperature = {temperature} must be positive")
    classes = _check(train_x, train_masks, test_x, test_masks, grid)
    bank, shares = _labelled_patches(train_x, patch_shares(train_masks, grid, classes))
    if len(bank) > maximum:
        rows = torch.randperm(len(bank), generator=torch.Generator().manual_seed(seed))[:maximum]
        bank, shares = bank[rows], shares[rows]
    k = min(k, len(bank))
    bank = F.normalize(bank, dim=-1)
    scores = []
    for part in test_x.reshape(-1, test_x.shape[-1]).split(1024):
        similar, positions = _nearest(F.normalize(part.float(), dim=-1), bank, k)
        # less the row's largest, which cancels in the mean and keeps exp from overflowing
        weights = ((similar - similar[:, :1]) / temperature).exp()
        votes = (weights[..., None] * shares[positions]).sum(1)  # [q, C]
        scores.append(votes / weights.sum(1, keepdim=True))
    details = {"k": k, "temperature": temperature, "patches": len(bank)}
    return _graded(torch.cat(scores), train_masks, test_masks, grid, classes, "knn", details)


def linear_segmentation(
    train_x: Tensor,
    train_masks: Tensor,
    test_x: Tensor,
    test_masks: Tensor,
    *,
    grid: tuple[int, int],
    regularisation: float = 1e-3,
) -> SegmentationResult:
    """Ridge regression from patch tokens to the share of each class in the patch, in closed form.

    With X standardised, W = (X^T X / n + lambda I)^-1 X^T Y / n; the Gram matrix is summed over slices, so
    tokens may lie on disk. Scores are interpolated bilinearly to pixels, and the largest wins.

    Args:
        train_x: [n, N, D] patch tokens, N = rows * columns.
        train_masks: [n, H, W] int64 classes, -1 to ignore.
        test_x: [m, N, D].
        test_masks: [m, H, W].
        grid: rows and columns of the patches.
        regularisation: lambda, for features of variance 1.

    Raises:
        UserError: shapes do not fit, features that are not finite, or masks with a single class.
    """
    if regularisation <= 0:
        raise UserError(f"segmentation: regularisation {regularisation} must be positive, for example 1e-3")
    classes = _check(train_x, train_masks, test_x, test_masks, grid)
    x, shares = _labelled_patches(train_x, patch_shares(train_masks, grid, classes))
    mean = x.double().mean(0)
    deviation = x.double().std(0, unbiased=False)
    scale = torch.where(deviation > 1e-8 * deviation.max(), deviation, torch.inf)  # constants say nothing
    offset = shares.double().mean(0)
    gram = torch.zeros(x.shape[1], x.shape[1], dtype=torch.float64)  # [D, D], summed up slice by slice
    cross = torch.zeros(x.shape[1], classes, dtype=torch.float64)
    for part, share in zip(x.split(_ROWS), shares.split(_ROWS)):
        part = (part.double() - mean) / scale
        gram += part.T @ part / len(x)
        cross += part.T @ (share.double() - offset) / len(x)
    gram.diagonal().add_(regularisation)
    weights = torch.linalg.solve(gram, cross)
    tokens = test_x.reshape(-1, test_x.shape[-1]).split(_ROWS)
    scores = torch.cat([((part.double() - mean) / scale) @ weights + offset for part in tokens]).float()
    details = {"regularisation": regularisation, "patches": len(x)}
    return _graded(scores, train_masks, test_masks, grid, classes, "linear", details)


def mean_iou(predicted: Tensor, true: Tensor, classes: int) -> tuple[float, dict[int, float]]:
    """Intersection over union, counted over all pixels [n, H, W] together; -1 in `true` is left out.

    Returns:
        The mean over the classes that occur in either, and the value of each of these.
    """
    known = true != IGNORED
    pairs = true[known] * classes + predicted[known]
    confusion = torch.bincount(pairs, minlength=classes * classes).reshape(classes, classes).double()
    both, union = confusion.diagonal(), confusion.sum(0) + confusion.sum(1) - confusion.diagonal()
    iou = {index: float(both[index] / union[index]) for index in range(classes) if union[index]}
    return sum(iou.values()) / max(1, len(iou)), iou


def _labelled_patches(x: Tensor, shares: Tensor) -> tuple[Tensor, Tensor]:
    """Tokens [p, D] and shares [p, C] of the patches with at least one pixel that counts."""
    kept = shares.sum(-1).flatten() > 0
    return x.reshape(-1, x.shape[-1])[kept].float(), shares.flatten(0, 1)[kept]


def _nearest(queries: Tensor, bank: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Cosines and positions [q, k] of the k nearest rows of `bank`, looked through in slices."""
    best = queries.new_full((len(queries), 0), 0.0)
    positions = torch.zeros(len(queries), 0, dtype=torch.int64)
    for start in range(0, len(bank), 4 * _ROWS):
        part = queries @ bank[start : start + 4 * _ROWS].T  # [q, slice]
        values, found = part.topk(min(k, part.shape[1]), dim=1)
        values, found = torch.cat([best, values], 1), torch.cat([positions, found + start], 1)
        best, order = values.topk(min(k, values.shape[1]), dim=1)  # [q, at most k]
        positions = found.gather(1, order)
    return best, positions


def _graded(
    scores: Tensor,
    train_masks: Tensor,
    masks: Tensor,
    grid: tuple[int, int],
    classes: int,
    probe: str,
    details: Mapping[str, Any],
) -> SegmentationResult:
    """Scores of patches [m * N, C] to classes of pixels, and how many are right."""
    planes = scores.unflatten(0, (len(masks), *grid)).movedim(-1, 1)  # [m, C, h, w]
    size = (int(masks.shape[-2]), int(masks.shape[-1]))
    predicted = torch.cat(
        # scores are interpolated, not classes: borders may cross patches
        [F.interpolate(part, size, mode="bilinear", align_corners=False).argmax(1) for part in planes.split(64)]
    )
    miou, iou = mean_iou(predicted, masks, classes)
    known = masks != IGNORED
    common = int(train_masks[train_masks != IGNORED].bincount().argmax())
    return SegmentationResult(
        miou=miou,
        accuracy=float((predicted == masks)[known].double().mean()),
        majority=float((masks[known] == common).double().mean()),
        iou=iou,
        n=len(train_masks),
        test_n=len(masks),
        probe=f"{probe} segmentation",
        details=dict(details),
        predicted=predicted,
    )


def _check(
    train_x: Tensor, train_masks: Tensor, test_x: Tensor, test_masks: Tensor, grid: tuple[int, int]
) -> int:
    """Number of classes, or a UserError."""
    for x, masks, what in ((train_x, train_masks, "train"), (test_x, test_masks, "test")):
        if x.dim() != 3 or masks.dim() != 3 or len(x) != len(masks) or not len(x):
            raise UserError(
                f"segmentation: {what} wants tokens [n, N, D] and masks [n, H, W], at least one image, "
                f"got {list(x.shape)} and {list(masks.shape)}"
            )
        if x.shape[1] != grid[0] * grid[1]:
            raise UserError(
                f"segmentation: {what} has {x.shape[1]} tokens per image on a grid of {grid[0]} x {grid[1]}; "
                "pass patch tokens only, all of them"
            )
        if not all(bool(torch.isfinite(part).all()) for part in x.split(256)):
            raise UserError(f"segmentation: {what} features are NaN or infinite; the encoder has diverged")
        if masks.is_floating_point() or int(masks.min()) < IGNORED or not bool((masks != IGNORED).any()):
            raise UserError(f"segmentation: {what} masks must hold classes from 0, and -1 only where to ignore")
    if train_x.shape[2] != test_x.shape[2]:
        raise UserError(f"segmentation: train has tokens of {train_x.shape[2]} features, test of {test_x.shape[2]}")
    if len(train_masks[train_masks != IGNORED].unique()) < 2:
        raise UserError("segmentation: the training masks hold a single class, nothing to tell apart")
    return int(max(train_masks.max(), test_masks.max())) + 1
