"""A tokenizer's ids as the target: masked code prediction (BEiT, BEiT v2, CCViT)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mimgen.errors import UserError
from mimgen.tokenizers import ImageQuantizer
from mimgen.types import Mask


class CodeTarget(nn.Module):
    """The ids of any `ImageQuantizer` with a codebook, frozen and in evaluation mode.

    Args:
        coder: the tokenizer.

    Raises:
        UserError: a continuous tokenizer.
    """

    def __init__(self, coder: ImageQuantizer) -> None:
        super().__init__()
        if not coder.codebook_size:
            raise UserError("a continuous tokenizer has no codes to predict: pass one with a codebook")
        if isinstance(coder, nn.Module):
            coder.requires_grad_(False).eval()
        self.coder = coder
        self.dim, self.patch = coder.codebook_size, coder.downsample

    def train(self, mode: bool = True) -> CodeTarget:
        """As usual, but the tokenizer stays in evaluation mode: in training mode its codebook would move."""
        super().train(mode)
        if isinstance(self.coder, nn.Module):
            self.coder.eval()
        return self

    @torch.no_grad()
    def forward(self, images: Tensor, mask: Mask | None = None) -> Tensor:
        """[B, 3, H, W] in [0, 1] to ids [B, N] int64 of the intact images."""
        indices = self.coder.encode(images).indices
        assert indices is not None, "a tokenizer with a codebook fills indices"
        return indices.flatten(1)

    def loss(self, predicted: Tensor, goal: Tensor) -> Tensor:
        """Cross-entropy [M] of logits [M, K] and ids [M]."""
        return F.cross_entropy(predicted.float(), goal, reduction="none")
