"""Patch features of a frozen encoder as the target, on whatever grid the student has."""

from __future__ import annotations

from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mimgen.tokenizers.contract import check_images
from mimgen.types import Mask, Tokens


class Teacher(Protocol):
    """Any encoder: images [B, 3, H, W] in [0, 1] to `Tokens`.

    Attributes:
        dim: width D of a token.
        patch: pixels per side of a patch token.
    """

    dim: int
    patch: int

    def __call__(self, images: Tensor, /) -> Tokens:
        """[B, 3, H, W] in [0, 1] to patch tokens [B, N, D] and their grid."""
        ...


class FeatureTarget(nn.Module):
    """Patch tokens [B, N, D] of a frozen encoder.

    Args:
        teacher: the encoder; it stays in evaluation mode.
        patch: side of the student's patch; features of another grid are resized (bilinear). The
            teacher's own when None.
    """

    def __init__(self, teacher: Teacher, *, patch: int | None = None) -> None:
        super().__init__()
        if isinstance(teacher, nn.Module):
            teacher.requires_grad_(False).eval()
        self.teacher = teacher
        self.dim, self.patch = teacher.dim, patch or teacher.patch

    def train(self, mode: bool = True) -> FeatureTarget:
        """As usual, but the teacher stays in evaluation mode."""
        super().train(mode)
        if isinstance(self.teacher, nn.Module):
            self.teacher.eval()
        return self

    @torch.no_grad()
    def forward(self, images: Tensor, mask: Mask | None = None) -> Tensor:
        """[B, 3, H, W] in [0, 1] to [B, N, D] float32, N patches of `patch` pixels per side."""
        check_images(images, self.patch)
        grid = (images.shape[-2] // self.patch, images.shape[-1] // self.patch)
        tokens = self.teacher(images)
        if tokens.grid == grid:
            return tokens.patches.float()
        plane = tokens.patches.float().transpose(1, 2).unflatten(2, tokens.grid)  # [B, D, h, w]
        resized = F.interpolate(plane, grid, mode="bilinear", align_corners=False)
        return resized.flatten(2).transpose(1, 2)

    def loss(self, predicted: Tensor, goal: Tensor) -> Tensor:
        """1 - cosine [M] of [M, D] and [M, D] (BEiT v2, equation 3)."""
        return 1 - F.cosine_similarity(predicted.float(), goal, dim=-1)
