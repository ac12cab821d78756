"""Cells of volumes, or of images, as the target, each standardised by itself."""

from __future__ import annotations

from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mimgen.errors import UserError
from mimgen.methods.hiendmae.cells import cut
from mimgen.types import Mask

EPSILON = 1e-6


class VolumeTarget(nn.Module):
    """Cells [B, N, cell1 ... celln C] in the order (positions, channel), minus their mean, over their deviation.

    The variance is biased, that of a layer norm (Hi-End-MAE, arXiv 2502.08347).

    Args:
        cell: sides of a cell.
        channels: C of the volumes.
    """

    def __init__(self, cell: tuple[int, ...] = (12, 12, 12), channels: int = 1) -> None:
        super().__init__()
        self.cell, self.patch, self.dim = tuple(cell), cell[0], channels * prod(cell)

    @torch.no_grad()
    def forward(self, volumes: Tensor, mask: Mask | None = None) -> Tensor:
        """[B, C, S1, ..., Sn] to [B, N, dim] float32.

        Raises:
            UserError: another number of channels, or sides that are no multiples of the cell's.
        """
        if volumes.shape[1] * prod(self.cell) != self.dim:
            channels = self.dim // prod(self.cell)
            raise UserError(
                f"this target is of {channels} channels, got {list(volumes.shape)}: build it with as many channels"
            )
        return F.layer_norm(cut(volumes.float(), self.cell), (self.dim,), eps=EPSILON)

    def loss(self, predicted: Tensor, goal: Tensor) -> Tensor:
        """Mean squared error [M] of [M, D] and [M, D]."""
        return (predicted.float() - goal).square().mean(-1)

    @torch.no_grad()
    def raw(self, predicted: Tensor, volumes: Tensor, *, unbiased: bool = False) -> Tensor:
        """Predictions [B, N, dim] in the units of the volumes, with mean and deviation of the true cells.

        Args:
            predicted: what a decoder says.
            volumes: [B, C, S1, ..., Sn], from which mean and deviation are taken.
            unbiased: the deviation as the release shows it, which is not the one that the loss takes; for
                comparison with it only.
        """
        cells = cut(volumes.float(), self.cell)
        mean, variance = cells.mean(-1, keepdim=True), cells.var(-1, keepdim=True, unbiased=unbiased)
        deviation = variance.sqrt() + EPSILON if unbiased else (variance + EPSILON).sqrt()
        return predicted.float() * deviation + mean
