"""What an encoder is to probes, analysis and metrics."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from mimgen.errors import UserError
from mimgen.types import Tokens

__all__ = ["Encoder", "block_numbers", "register_channel_stats"]


@runtime_checkable
class Encoder(Protocol):
    """What can be probed and analysed.

    Attributes:
        dim: width D of a token.
        depth: number of blocks that can be asked for.
        patch: side of a patch in pixels.
    """

    dim: int
    depth: int
    patch: int

    def __call__(self, images: Tensor, /, *, layers: Sequence[int] = ()) -> Tokens:
        """[B, 3, H, W] in [0, 1] -> Tokens with one level for each of `layers`.

        Encoders that can show their attention take `attention=`, a sequence of blocks, too.
        """


def block_numbers(layers: Sequence[int], depth: int) -> tuple[int, ...]:
    """The blocks asked for, counted from 0; negative ones count from the end, as -1 for the last.

    Raises:
        UserError: a layer that an encoder of `depth` blocks does not have.
    """
    for layer in layers:
        if not -depth <= layer < depth:
            raise UserError(f"layer {layer} does not exist: the encoder has layers 0 to {depth - 1}")
    return tuple(layer % depth for layer in layers)


def register_channel_stats(
    module: nn.Module, mean: Sequence[float], std: Sequence[float], channels: int
) -> None:
    """Give a module the buffers `mean` and `std` [C, 1, 1] that its images [B, C, H, W] are normalised with.

    They come from the constructor, so checkpoints do not hold them.

    Raises:
        UserError: other numbers of values than channels.
    """
    if len(mean) != channels or len(std) != channels:
        raise UserError(f"mean {mean} and std {std} need one number for each of {channels} channels")
    module.register_buffer("mean", torch.tensor(tuple(mean))[:, None, None], persistent=False)
    module.register_buffer("std", torch.tensor(tuple(std))[:, None, None], persistent=False)
