"""Initial weights of MAE's networks: Xavier-uniform matrices, and a fixed table of sine-cosine positions."""

from __future__ import annotations

import torch
from torch import nn

from mimgen.layers.patch_embed import PatchEmbed
from mimgen.layers.position import sincos_2d


def init_weights(module: nn.Module) -> None:
    """Initial weights of MAE: Xavier uniform for matrices and the patch kernel, normal 0.02 for tokens.

    The kernel counts as the matrix from a patch to its token. Biases are zero.
    """
    for part in module.modules():
        if isinstance(part, nn.Linear):
            nn.init.xavier_uniform_(part.weight)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
        elif isinstance(part, PatchEmbed):
            nn.init.xavier_uniform_(part.proj.weight.data.flatten(1))  # fans of [D, C patch^2], not of a kernel
    for name, parameter in module.named_parameters(recurse=False):
        if name.endswith("_token"):
            nn.init.normal_(parameter, std=0.02)


@torch.no_grad()
def init_sincos_pos_embed(table: nn.Parameter, grid: tuple[int, int]) -> None:
    """Fill a position table [1, P + N, D] with sines and cosines, zeros for the P prefix tokens, and freeze it."""
    prefix = table.shape[1] - grid[0] * grid[1]
    table[:, :prefix] = 0
    table[0, prefix:] = sincos_2d(table.shape[-1], *grid)
    table.requires_grad_(False)
