"""What `mimgen compare mim` measures of a trained objective besides probes, on held-out images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mimgen.data import Dataset
from mimgen.data.loader import collate
from mimgen.types import Batch, Mask, SampleRNG

__all__ = ["Measure", "collapse", "cosine", "foreground", "hard_order", "held_out", "reconstruction_gain", "ridge"]

# (an objective in evaluation mode, its run) to named numbers; none where the measure says nothing of such a one
Measure = Callable[[nn.Module, Any], dict[str, float]]


def held_out(run: Any, count: int, split: str = "val") -> Batch:
    """`count` samples spread over a split of the run's data, as they are, in one batch."""
    data = cast(Dataset, replace(run.data_config, split=split).open())
    rows = range(0, len(data), max(1, len(data) // count))[:count]
    return collate([data[row] for row in rows], SampleRNG.for_rows(0, 0, range(len(rows))))


def ridge(x: Tensor, y: Tensor, points: Tensor, regularisation: float = 1e-3) -> Tensor:
    """Least squares from features [n, F], standardised, to values [n, C]; what it says of `points` [m, F], [m, C]."""
    from mimgen.probing.probe_split import standardise

    x, points = standardise(x.double(), points.double())
    offset = y.mean(0)
    gram = x.T @ x / len(x)
    gram.diagonal().add_(regularisation)
    weights = torch.linalg.solve(gram, x.T @ (y - offset).double() / len(x))
    return (points @ weights + offset).to(y.dtype)


def reconstruction_gain(objective: nn.Module, run: Any) -> dict[str, float]:
    """The metrics of the objective's own forward pass on 64 held-out images."""
    metrics = objective(held_out(run, 64)).metrics
    return {name: float(value) for name, value in metrics.items()}


def hard_order(objective: nn.Module, run: Any) -> dict[str, float]:
    """Kendall's tau between predicted and true losses of randomly masked patches, of HPM alone."""
    from mimgen.methods.hpm.objective import HPM

    if not isinstance(objective, HPM):
        return {}
    batch = held_out(run, 256)
    objective.masking = replace(objective.masking, share=0.0)
    # losses are real numbers that hardly ever tie, so tau is what is in order less what is not
    return {"tau": 2 * float(objective(batch).metrics["ranked"]) - 1}


def foreground(objective: nn.Module, run: Any) -> dict[str, float]:
    """How much more of the foreground lies in masked patches than in an average one; 1 for masks that do not care.

    The images' background is white, as that of emoji is.
    """
    from mimgen.methods.ibot.objective import IBOT

    batch = held_out(run, 256)
    images = batch.images
    if isinstance(objective, IBOT):
        images = F.interpolate(images, objective.views.size, mode="bilinear", antialias=True, align_corners=False)
        mask: Mask = objective.mask(images[None], objective.teach(images[None]), batch.rng)
    else:
        mask = cast(Any, objective).mask(images, batch.rng)
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


def collapse(objective: nn.Module, run: Any) -> dict[str, float]:
    """Mean cosine of the vectors of two images (1 when collapsed), and in how many directions vectors spread."""
    from mimgen.analysis.rank import effective_rank
    from mimgen.probing import extract

    encoder = cast(Any, objective).encoder
    side = encoder.config.get("image_size")
    if isinstance(side, int):
        # an objective may leave out parts of its images, so that its encoder sees smaller ones
        run = replace(run, data_config=replace(run.data_config, size=side))
    vectors = next(iter(extract(encoder, held_out(run, 256).images).levels.values()))
    values = torch.linalg.svdvals(vectors - vectors.mean(0))
    return {"mean cosine": cosine(vectors), "effective rank": float(effective_rank(values))}


def cosine(vectors: Tensor) -> float:
    """Mean cosine over pairs of different rows of [n, F]."""
    n = len(vectors)
    # the squared length of the sum holds every pair twice, and each row with itself
    return float((F.normalize(vectors.double(), dim=-1).sum(0).square().sum() - n) / (n * (n - 1)))
