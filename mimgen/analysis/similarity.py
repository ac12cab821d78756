"""How alike tokens are: within an image, between images, between layers."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["between_images", "depth_similarity", "token_similarity", "unit"]


def unit(tokens: Tensor) -> Tensor:
    """[..., D] scaled to length 1, as float64; zero stays zero."""
    return F.normalize(tokens.double(), dim=-1)


def token_similarity(tokens: Tensor) -> Tensor:
    """Mean cosine between different tokens of one image.

    Args:
        tokens: [..., N, D], two tokens or more.

    Returns:
        [...] float64 in [-1, 1]; 1 where all tokens of the image are one (collapse). NaN of a single token.
    """
    return _mean_pair(unit(tokens).sum(-2).square().sum(-1), tokens.shape[-2])  # [...]; no N x N matrix


def between_images(units: Tensor, images: int) -> Tensor:
    """Mean cosine between tokens at the same place of different images.

    Args:
        units: [N, D] sum over images of their tokens of length 1, see `unit`; adding it up batch by batch
            makes the number independent of the batches.
        images: how many were added.

    Returns:
        One float64 number in [-1, 1]; 1 where the tokens only know their place. NaN of a single image.
    """
    return _mean_pair(units.square().sum(-1), images).mean()


def depth_similarity(before: Tensor, after: Tensor) -> Tensor:
    """Mean over tokens of the cosine between a token [..., N, D] before and after a block: [...] in [-1, 1]."""
    return (unit(before) * unit(after)).sum(-1).mean(-1)


def _mean_pair(squared: Tensor, count: int) -> Tensor:
    """Mean product of `count` unit vectors with each other, from the squared length of their sum."""
    return (squared - count) / (count * (count - 1)) if count > 1 else torch.full_like(squared, torch.nan)
