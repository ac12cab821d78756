"""Nearest codes and k-means, a chunk of rows at a time.

vector-quantize-pytorch's k-means makes the whole sample x code matrix of distances, 64 GiB for the
two million patches and 8192 centroids of CCViT; this one holds a block of it.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from mimgen.tokenizers.quantizers import nearest
from mimgen.tokenizers.ranks import all_reduce_sum_

CHUNK = 65_536


@torch.no_grad()
def assign(rows: Tensor, codes: Tensor) -> Tensor:
    """The code of least squared distance to each row; the first one of equals.

    Args:
        rows: [n, D] of any real type.
        codes: [K, D] float32.

    Returns:
        [n] int64.
    """
    with torch.autocast(codes.device.type, enabled=False):
        # Distances to a common centre are small, so that float32 tells close codes apart.
        codes = codes.float()
        centre = codes.mean(0)
        parts = [nearest(part.float() - centre, codes - centre) for part in rows.split(CHUNK)]
    return torch.cat(parts)


@torch.no_grad()
def totals(rows: Tensor, ids: Tensor, count: int, weights: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Sum and number of the rows of each code.

    Args:
        rows: [n, D] of any real type.
        ids: [n] int64 in [0, count).
        count: number K of codes.
        weights: [n] how often each row counts, once when None.

    Returns:
        [K, D] and [K] float32.
    """
    sums = torch.zeros(count, rows.shape[1], device=rows.device)
    counts = torch.zeros(count, device=rows.device)
    for start in range(0, len(rows), CHUNK):
        part = slice(start, start + CHUNK)
        values = rows[part].float()
        times = torch.ones(len(values), device=rows.device) if weights is None else weights[part].float()
        sums.index_add_(0, ids[part], values * times[:, None])  # [K, D]
        counts.index_add_(0, ids[part], times)
    return sums, counts


@torch.no_grad()
def kmeans(rows: Tensor, centres: Tensor, iterations: int, *, weights: Tensor | None = None) -> Tensor:
    """k-means by squared distance (Lloyd). A centre without rows moves to the row farthest from its own.

    Args:
        rows: [n, D] of any real type, without repetitions, n >= K.
        centres: [K, D] to start from.
        iterations: largest number of rounds; it ends early where no row changes its centre.
        weights: [n] how often each row counts, once when None.

    Returns:
        [K, D] float32.
    """
    centres, before = centres.float(), None
    for _ in range(iterations):
        ids = assign(rows, centres)
        if before is not None and torch.equal(ids, before):
            break
        sums, counts = totals(rows, ids, len(centres), weights)
        centres, before = sums / counts.clamp(min=1)[:, None], ids
        empty = (counts == 0).nonzero()[:, 0]  # [number of centres without rows]
        if len(empty):
            centres[empty] = rows[_gaps(rows, centres, ids).topk(len(empty)).indices].float()
    return centres


def _gaps(rows: Tensor, centres: Tensor, ids: Tensor) -> Tensor:
    """[n] squared distance of each row to its centre."""
    pairs = zip(rows.split(CHUNK), ids.split(CHUNK), strict=True)
    return torch.cat([(part.float() - centres[own]).square().sum(1) for part, own in pairs])


@torch.no_grad()
def spherical_kmeans(rows: Tensor, centres: Tensor, iterations: int) -> Tensor:
    """k-means of unit vectors by cosine, over all processes; a centre without rows stays where it is.

    Args:
        rows: [n, D] unit vectors of this process.
        centres: [K, D] unit vectors to start from, the same on all processes.
        iterations: number of rounds.

    Returns:
        [K, D] unit vectors.
    """
    for _ in range(iterations):
        sums, counts = totals(rows, assign(rows, centres), len(centres))
        all_reduce_sum_(sums)
        all_reduce_sum_(counts)
        centres = torch.where(counts[:, None] > 0, F.normalize(sums, dim=1), centres)
    return centres
