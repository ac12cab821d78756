"""Mean and covariance of features, gathered batch by batch in float64 and mergeable over processes.

Only the F x F sums are held, never the features of all images; float64 because float32 sums of
squares lose the covariance at some ten thousand images.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce

import torch
from torch import Tensor

from mimgen.errors import UserError
from mimgen.ops.distributed import world_size


@dataclass(frozen=True)
class Moments:
    """First and second moments of n feature vectors.

    Attributes:
        count: n.
        mean: [F] float64.
        scatter: [F, F] float64, the sum of (x - mean)(x - mean)^T.
    """

    count: int
    mean: Tensor
    scatter: Tensor

    @classmethod
    def of(cls, features: Tensor) -> Moments:
        """Of one batch [B, F], B at least 1, centred before it is squared.

        Raises:
            UserError: no [B, F], no rows, or values that are not finite.
        """
        if features.dim() != 2 or not features.numel():
            raise UserError(f"statistics want features [n, F], at least one, got {list(features.shape)}")
        rows = features.detach().double().cpu()
        broken = int((~torch.isfinite(rows)).any(1).sum())
        if broken:
            raise UserError(
                f"statistics: features of {broken} of {len(rows)} images are NaN or infinite; "
                "look at these images and at the extractor's weights"
            )
        mean = rows.mean(0)
        centred = rows - mean
        return cls(len(rows), mean, centred.T @ centred)

    def merged(self, other: Moments) -> Moments:
        """Of both sets together (Chan, Golub and LeVeque 1983, equations 2.1).

        S = S1 + S2 + (m2 - m1)(m2 - m1)^T n1 n2 / (n1 + n2).

        Raises:
            UserError: features of different lengths.
        """
        if self.mean.shape != other.mean.shape:
            raise UserError(
                f"statistics over {len(self.mean)} and over {len(other.mean)} features cannot be joined; "
                "use one extractor and layer"
            )
        count = self.count + other.count
        gap = other.mean - self.mean
        scatter = self.scatter + other.scatter + torch.outer(gap, gap) * (self.count * other.count / count)
        return Moments(count, self.mean + gap * (other.count / count), scatter)

    @property
    def dimensions(self) -> int:
        """F."""
        return len(self.mean)

    @property
    def covariance(self) -> Tensor:
        """[F, F] float64, unbiased.

        Raises:
            UserError: fewer than two images.
        """
        if self.count < 2:
            raise UserError(f"a covariance needs at least 2 images, got {self.count}; give more")
        return self.scatter / (self.count - 1)


def merge_all(parts: Iterable[Moments]) -> Moments:
    """All parts in their order; at least one.

    Raises:
        UserError: features of different lengths.
    """
    return reduce(Moments.merged, parts)


def over_ranks(own: Moments | None) -> Moments:
    """Of the images of all processes, the same on each; a process without images passes None.

    Raises:
        UserError: no process has any image.
    """
    if world_size() == 1:
        parts = [own]
    else:
        parts = [None] * world_size()
        torch.distributed.all_gather_object(parts, own)
    found = [part for part in parts if part is not None]
    if not found:
        raise UserError("statistics: there are no images to measure")
    return merge_all(found)


def rows_over_ranks(own: Tensor | None) -> Tensor | None:
    """Rows [n, ...] of all processes in the order of ranks; None where nobody has any."""
    if world_size() == 1:
        return own
    parts: list[Tensor | None] = [None] * world_size()
    torch.distributed.all_gather_object(parts, own)
    found = [part for part in parts if part is not None]
    return torch.cat(found) if found else None
