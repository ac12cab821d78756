"""Outputs of intermediate blocks of a plain ViT, prefix tokens included."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from mimgen.encoders.vit import VitEncoder
from mimgen.errors import UserError
from mimgen.types import Mask, Tokens


def check_taps(taps: Sequence[int], depth: int) -> tuple[int, ...]:
    """Blocks of an encoder of `depth` blocks, ascending and each once.

    Raises:
        UserError: none, one twice, not ascending, or one that does not exist.
    """
    chosen = tuple(taps)
    if not chosen or sorted(set(chosen)) != list(chosen) or not 0 <= chosen[0] <= chosen[-1] < depth:
        raise UserError(f"taps {chosen}: name blocks of 0 to {depth - 1}, each once and ascending")
    return chosen


def tap(encoder: VitEncoder, images: Tensor, mask: Mask | None, taps: Sequence[int]) -> tuple[Tokens, ...]:
    """The tokens after some blocks, before any last norm.

    Unlike the `levels` of `Tokens` they have their class token, which the decoders of MAE read, and blocks
    above the last tap are not run.

    Args:
        encoder: a plain ViT.
        images: [B, C, H, W] in [0, 1].
        mask: masked patches are left out (or shown as a token, by a `VitEncoder` with mask_token="replace").
        taps: blocks, counted from 0, ascending.

    Returns:
        For each tap prefix [B, P, D] and patches [B, K, D].
    """
    x, grid = encoder.embed(images, mask)
    found = []
    for layer, block in enumerate(encoder.blocks[: max(taps) + 1]):
        x = block(x)
        if layer in taps:
            found.append(Tokens(x[:, encoder.prefix :], grid, x[:, : encoder.prefix]))
    return tuple(found)
