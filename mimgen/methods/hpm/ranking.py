"""Predicted losses against true ones: their order in pairs, or their standardised values (HPM)."""

from __future__ import annotations

import torch
from torch import Tensor

from mimgen.ops.distributed import distributed_mean

EPSILON = 1e-6


def order_loss(predicted: Tensor, losses: Tensor) -> Tensor:
    """Cross-entropy of which of two patches is harder, over all pairs of an image (HPM, equation 4).

    Args:
        predicted: [B, M].
        losses: [B, M] true losses; pairs of equal ones do not count.

    Returns:
        Mean over ordered pairs; ln 2 where all predictions are equal.
    """
    gap, truth = predicted[:, None] - predicted[:, :, None], losses[:, None] - losses[:, :, None]
    chance, harder = gap.sigmoid(), (truth > 0).float()
    entropy = -(harder * (chance + EPSILON).log() + (1 - harder) * (1 - chance + EPSILON).log())
    counts = (truth != 0).float()
    return distributed_mean((entropy * counts).sum(), counts.sum())


def value_loss(predicted: Tensor, losses: Tensor) -> Tensor:
    """Mean squared error of predictions [B, M] and true losses [B, M], these standardised in each image."""
    variance, mean = torch.var_mean(losses, dim=1, keepdim=True)
    error = (predicted - (losses - mean) / (variance + EPSILON).sqrt()).square()
    return distributed_mean(error.sum(), torch.tensor(error.numel(), device=error.device))


def ranked(predicted: Tensor, losses: Tensor) -> Tensor:
    """Share of pairs of patches [B, M] whose order is predicted rightly; Kendall's tau is twice that minus 1."""
    gap, truth = predicted[:, None] - predicted[:, :, None], losses[:, None] - losses[:, :, None]
    counts = (truth != 0).float()
    return distributed_mean((counts * (gap * truth > 0)).sum(), counts.sum())
