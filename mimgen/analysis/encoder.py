"""What analysis asks of an encoder: tokens, levels and, where it has them, attention maps."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from mimgen.encoders.contract import Encoder
from mimgen.errors import UserError
from mimgen.types import Tokens

__all__ = ["Encoder", "has_attention", "in_batches", "level_grid", "levels_of", "resting", "run_encoder"]


def has_attention(encoder: Encoder) -> bool:
    """Whether an encoder takes `attention=`; only then are there maps to look at."""
    call = encoder.forward if isinstance(encoder, nn.Module) else encoder.__call__
    return encoder.depth > 0 and "attention" in inspect.signature(call).parameters


@torch.no_grad()
def run_encoder(encoder: Encoder, images: Tensor, *, attention: bool | Sequence[int] = False) -> Tokens:
    """All levels of some images, and the attention maps asked for.

    Args:
        encoder: the encoder, in the mode it is in.
        images: [B, 3, H, W] in [0, 1].
        attention: True for the maps of every block, or the blocks, counted from 0. Encoders that have no
            maps give none.

    Raises:
        UserError: tokens or levels that are not finite.
    """
    blocks = tuple(range(encoder.depth))
    wanted = blocks if attention is True else tuple(attention or ())
    images = images.to(_device(encoder))
    tokens = _with_maps(encoder, images, blocks, wanted) or encoder(images, layers=blocks)
    names = (*(f"block {block}" for block in blocks), "the output")
    for name, level in zip(names, levels_of(tokens), strict=True):
        if not bool(level.isfinite().all()):
            raise UserError(
                f"{name} of this encoder gives NaN or infinity: check its weights, and that the images are in [0, 1]"
            )
    return tokens


def _with_maps(
    encoder: Encoder, images: Tensor, blocks: tuple[int, ...], wanted: tuple[int, ...]
) -> Tokens | None:
    """Tokens with attention maps, or None where there are none to have."""
    if not wanted or not has_attention(encoder):
        return None
    try:
        return encoder(images, layers=blocks, attention=wanted)  # type: ignore[call-arg]
    except UserError:
        # Some adapters only learn at the call that their model has no maps; whatever else was wrong shows
        # again in the call without them.
        return None


def levels_of(tokens: Tokens) -> tuple[Tensor, ...]:
    """The patch tokens [B, N, D] of every block and of the output, in this order."""
    return (*tokens.levels, tokens.patches)


def level_grid(count: int, grid: tuple[int, int]) -> tuple[int, int] | None:
    """Rows and columns of a level of `count` tokens; finer and coarser ones keep the sides' ratio."""
    scale = (count / (grid[0] * grid[1])) ** 0.5
    rows, columns = round(grid[0] * scale), round(grid[1] * scale)
    return (rows, columns) if rows * columns == count and rows * grid[1] == columns * grid[0] else None


def in_batches(images: Tensor, size: int) -> tuple[Tensor, ...]:
    """Batches of at most `size` images whose sizes differ by one at most.

    Raises:
        UserError: not images, fewer than four, or batches of less than eight: similarities over images
            need four in every batch.
    """
    if images.ndim != 4 or len(images) < 4:
        raise UserError(f"analysis wants images [n, C, H, W], four or more, got {list(images.shape)}")
    if size < 8:
        raise UserError(f"batches of {size} images are too small for similarities between images: give 8 or more")
    return images.tensor_split(-(-len(images) // size))


@contextmanager
def resting(encoder: Encoder) -> Iterator[None]:
    """The encoder in evaluation mode for a while, if it has modes."""
    if not isinstance(encoder, nn.Module):
        yield
        return
    training = encoder.training
    encoder.eval()
    try:
        yield
    finally:
        encoder.train(training)


def _device(encoder: Encoder) -> torch.device:
    if not isinstance(encoder, nn.Module):
        return torch.device("cpu")
    return next((parameter.device for parameter in encoder.parameters()), torch.device("cpu"))
