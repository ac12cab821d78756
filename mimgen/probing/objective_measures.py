"""Measures of a pretraining objective besides probes, on held-out samples: masks, order, its own metrics."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mimgen.data import Dataset
from mimgen.data.loader import collate
from mimgen.ops.ranks import effective_rank
from mimgen.types import Batch, Mask, SampleRNG

__all__ = [
    "HeldOut", "Measure", "collapse", "foreground", "foreground_share", "lift", "mean_cosine", "own_metrics",
    "ranking", "ridge",
]  # fmt: skip


@dataclass(frozen=True)
class HeldOut:
    """Samples of the data that an objective is trained on.

    Attributes:
        data: a `mimgen.recipes.DataConfig`.
        seed: of probes that a measure fits.
    """

    data: Any
    seed: int = 0

    def __call__(self, count: int, split: str = "val", size: int | None = None) -> Batch:
        """About `count` samples spread over a split, unmasked, in one batch; `size` is another side in pixels."""
        config = replace(self.data, split=split, **({} if size is None else {"size": size}))
        data = cast(Dataset, config.open())
        rows = range(0, len(data), max(1, len(data) // count))[:count]
        return collate([data[row] for row in rows], SampleRNG.for_rows(0, 0, range(len(rows))))


# (an objective in evaluation mode, samples) to named numbers; none where the measure does not apply to the objective
Measure = Callable[[nn.Module, HeldOut], dict[str, float]]


def ridge(x: Tensor, y: Tensor, points: Tensor, regularisation: float = 1e-3) -> Tensor:
    """Least squares from features [n, F], standardised, to values [n, C]: predictions [m, C] for `points` [m, F]."""
    from mimgen.probing.probe_split import standardise

    x, points = standardise(x.double(), points.double())
    offset = y.mean(0)
    gram = x.T @ x / len(x)
    gram.diagonal().add_(regularisation)
    weights = torch.linalg.solve(gram, x.T @ (y - offset).double() / len(x))
    return (points @ weights + offset).to(y.dtype)


def own_metrics(objective: nn.Module, samples: HeldOut) -> dict[str, float]:
    """The metrics of the objective's own forward pass on 64 held-out images."""
    metrics = objective(samples(64)).metrics
    return {name: float(value) for name, value in metrics.items()}


def ranking(objective: nn.Module, samples: HeldOut) -> dict[str, float]:
    """Kendall's tau between predicted and true losses of randomly masked patches, of HPM alone."""
    from mimgen.methods.hpm.objective import HPM

    if not isinstance(objective, HPM):
        return {}
    batch = samples(256)
    objective.masking = replace(objective.masking, share=0.0)
    # losses are real numbers that hardly ever tie, so tau is what is in order less what is not
    return {"tau": 2 * float(objective(batch).metrics["ranked"]) - 1}


def foreground(objective: nn.Module, samples: HeldOut) -> dict[str, float]:
    """How much more of the foreground lies in masked patches than in an average one; 1 for masks that do not care.

    The images' background is white, as that of emoji is.
    """
    from mimgen.methods.ibot.objective import IBOT

    batch = samples(256)
    images = batch.images
    if isinstance(objective, IBOT):
        images = F.interpolate(images, objective.views.size, mode="bilinear", antialias=True, align_corners=False)
    mask: Mask = cast(Any, objective).mask(replace(batch, images=images))
    return {"foreground masked": lift(foreground_share(images, mask.masked.shape[1]), mask.masked)}


def foreground_share(images: Tensor, patches: int) -> Tensor:
    """Share of pixels in each patch that are not white: images [B, 3, S, S] in [0, 1] to [B, N], N a square."""
    marked = (images.amin(1) < 0.98).float()
    return F.adaptive_avg_pool2d(marked[:, None], round(patches**0.5)).flatten(1)


def lift(content: Tensor, masked: Tensor) -> float:
    """Mean of content [B, N] over masked patches [B, N], over its mean over all patches of images with any masked.

    Images that are left whole do not count.
    """
    any_masked = masked.any(1)
    content, masked = content[any_masked], masked[any_masked].float()
    # shares of each image's own masked patches, so that those with more of them do not count more
    inside = (content * masked).sum(1) / masked.sum(1)
    return float(inside.mean() / content.mean())


def collapse(objective: nn.Module, samples: HeldOut) -> dict[str, float]:
    """Mean cosine of the vectors of two images (1 when collapsed), and the effective rank of all vectors."""
    from mimgen.probing.features import extract

    encoder = cast(Any, objective).encoder
    # an objective may leave out parts of its images, so that its encoder sees smaller ones
    side = encoder.config.get("image_size")
    images = samples(256, size=side if isinstance(side, int) else None).images
    vectors = next(iter(extract(encoder, images).levels.values()))
    values = torch.linalg.svdvals(vectors - vectors.mean(0))
    return {"mean cosine": mean_cosine(vectors), "effective rank": float(effective_rank(values))}


def mean_cosine(vectors: Tensor) -> float:
    """Mean cosine over pairs of different rows of [n, F]."""
    n = len(vectors)
    # the squared length of the sum holds every pair twice, and each row with itself
    return float((F.normalize(vectors.double(), dim=-1).sum(0).square().sum() - n) / (n * (n - 1)))
