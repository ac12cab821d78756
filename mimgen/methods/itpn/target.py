"""A teacher's features, each patch standardised over its channels, compared by a smooth distance (iTPN, CLIP)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from mimgen.targets.features import FeatureTarget, Teacher
from mimgen.types import Mask


class StandardisedFeatures(FeatureTarget):
    """Patch tokens [B, N, D] of a frozen encoder after a layer norm without parameters.

    Args:
        teacher: the encoder; it stays in evaluation mode.
        patch: side of the student's patch, as of `FeatureTarget`.
        half_range: show the teacher images squeezed into [0.5, 1], as iTPN's release does by mistake; for
            comparison with it only.
    """

    def __init__(self, teacher: Teacher, *, patch: int | None = None, half_range: bool = False) -> None:
        super().__init__(teacher, patch=patch)
        self.half_range = half_range

    @torch.no_grad()
    def forward(self, images: Tensor, mask: Mask | None = None) -> Tensor:
        """[B, 3, H, W] in [0, 1] to [B, N, D] float32, each row with mean 0 and variance 1 (biased)."""
        features = super().forward(self.rescaled(images), mask)
        return F.layer_norm(features, features.shape[-1:])

    def rescaled(self, images: Tensor) -> Tensor:
        """The images [B, 3, H, W] in [0, 1] that the teacher is given."""
        return ((images + 1) / 2).clamp(0, 1) if self.half_range else images

    def loss(self, predicted: Tensor, goal: Tensor) -> Tensor:
        """Huber distance [M] of [M, D] and [M, D]: squared below 1, absolute above, mean over channels."""
        return F.smooth_l1_loss(predicted.float(), goal, reduction="none").mean(-1)
