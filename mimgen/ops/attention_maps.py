"""Statistics of attention maps: mean distance, dependence on the query (NMI), similarity of heads.

The definitions are those of Park et al., "What Do Self-Supervised Vision Transformers Learn?" (ICLR 2023). The
leading dimensions of all maps are free, so that layers, images and heads can be measured at once.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mimgen.errors import UserError

__all__ = ["attention_distance", "attention_nmi", "grid_distances", "head_similarity", "patch_attention"]

# Added before the rows are renormalised, as in the published notebooks: rows that attend to prefix tokens alone
# then attend everywhere instead of dividing by zero.
_DISTANCE_FLOOR, _NMI_FLOOR = 1e-32, 1e-8


def patch_attention(maps: Tensor, prefix: int = 1, floor: float = _DISTANCE_FLOOR) -> Tensor:
    """Attention among patches alone: prefix rows and columns dropped, rows scaled to sum 1 again.

    Args:
        maps: [..., T, T] attention after the softmax, query before key, prefix tokens first.
        prefix: number of class or register tokens.
        floor: added to every entry before the scaling.

    Returns:
        [..., N, N] float64, N = T - prefix.

    Raises:
        UserError: maps that are not square, hold fewer than two patches, or are not finite.
    """
    if maps.ndim < 2 or maps.shape[-1] != maps.shape[-2] or maps.shape[-1] - prefix < 2:
        raise UserError(
            f"attention maps are [..., T, T] with {prefix} prefix tokens and two patches or more, got "
            f"{list(maps.shape)}: pass the maps of full self-attention and the right number of prefix tokens"
        )
    among = maps[..., prefix:, prefix:].double() + floor
    if not bool(among.isfinite().all()):
        raise UserError("attention maps hold NaN or infinity: check the encoder's weights and its number format")
    return among / among.sum(-1, keepdim=True)


def grid_distances(grid: tuple[int, int], patch: float = 1.0) -> Tensor:
    """[N, N] float64 Euclidean distances between the patches of a grid, in pixels where `patch` is its side."""
    rows, columns = (torch.arange(count, dtype=torch.float64) for count in grid)
    positions = torch.cartesian_prod(rows, columns)
    return torch.cdist(positions, positions, compute_mode="donot_use_mm_for_euclid_dist") * patch


def attention_distance(maps: Tensor, grid: tuple[int, int], patch: float, prefix: int = 1) -> Tensor:
    """How far attention reaches: sum_k a(q, k) |p_q - p_k|, mean over queries q (Park et al., section 2).

    Args:
        maps: [..., T, T] attention, prefix tokens first.
        grid: rows and columns of patches.
        patch: side of a patch in pixels.
        prefix: number of class or register tokens; they have no place and are left out.

    Returns:
        [...] float64 in pixels; 0 where every patch attends to itself.

    Raises:
        UserError: maps that do not fit the grid.
    """
    among = patch_attention(maps, prefix)
    if among.shape[-1] != grid[0] * grid[1]:
        raise UserError(
            f"maps of {among.shape[-1]} patches do not fit a grid of {grid[0]} x {grid[1]}: give the encoder's grid"
        )
    return (among * grid_distances(grid, patch).to(among.device)).sum(-1).mean(-1)


def attention_nmi(maps: Tensor, prefix: int = 1) -> Tensor:
    """How much attention depends on the query: I(q; k) / sqrt(H(q) H(k)), queries equally likely.

    Args:
        maps: [..., T, T] attention, prefix tokens first.
        prefix: number of class or register tokens, left out.

    Returns:
        [...] float64 in [0, 1]: 0 where all queries attend alike, 1 where the key determines the query.
    """
    given = patch_attention(maps, prefix, _NMI_FLOOR)
    queries = given.shape[-2]
    keys = given.mean(-2, keepdim=True)
    information = (given * (given.log() - keys.log())).sum((-2, -1)) / queries
    entropy = -(keys * keys.log()).sum((-2, -1))
    return information / (entropy * torch.tensor(queries, dtype=given.dtype).log()).sqrt()


def head_similarity(maps: Tensor, prefix: int = 1) -> Tensor:
    """Mean cosine between the maps of different heads.

    Args:
        maps: [..., H, T, T] attention, prefix tokens first.
        prefix: number of class or register tokens, left out.

    Returns:
        [...] float64 in [0, 1]; 1 where all heads do the same; NaN of a single head.
    """
    flat = patch_attention(maps, prefix).flatten(-2)
    heads = flat.shape[-2]
    total = (flat / flat.norm(dim=-1, keepdim=True)).sum(-2).square().sum(-1)
    return (total - heads) / (heads * (heads - 1)) if heads > 1 else torch.full_like(total, torch.nan)
