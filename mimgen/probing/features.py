"""Features of a frozen encoder: one vector per image, or all of its tokens."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from mimgen.encoders.contract import Encoder
from mimgen.errors import UserError
from mimgen.types import Tokens

Pooling = Literal["mean", "grid", "prefix", "tokens", "all"]
POOLINGS: tuple[str, ...] = get_args(Pooling)
_OUTPUT_ONLY = ("prefix", "all")  # `Tokens.levels` hold patches alone
_GRID = 4


@dataclass(frozen=True)
class Features:
    """Pooled features of a set of images.

    Attributes:
        levels: for each layer asked for, [n, F] float32 on the CPU; layer `depth` is the output. With pooling
            "tokens" [n, N, D], with "all" [n, P + N, D].
        pooling: how tokens became features.
        grid: rows and columns of the output's patches.
        prefix: number P of class and register tokens in front, with pooling "all"; else 0.
    """

    levels: Mapping[int, Tensor]
    pooling: str
    grid: tuple[int, int] | None = None
    prefix: int = 0

    @property
    def joined(self) -> Tensor:
        """[n, F * layers] (of tokens [n, N, D * layers]), all layers side by side."""
        return torch.cat(list(self.levels.values()), dim=-1)


@torch.no_grad()
def extract(
    encoder: Encoder,
    images: Tensor,
    layers: Sequence[int] = (),
    pooling: Pooling = "mean",
    batch_size: int = 64,
) -> Features:
    """Run a frozen encoder over images, in eval mode and without gradient.

    Args:
        encoder: the encoder; if a module, its mode is put back afterwards.
        images: [n, 3, H, W] in [0, 1].
        layers: blocks counted from 0, or from the end if negative; `depth` means the output.
            None at all means the output alone.
        pooling: "mean" over patches [n, D]; "grid", means over a 4 x 4 grid, which keep where
            things are [n, 16 D]; "prefix", the first class or register token [n, D], of the
            output only; "tokens", all patches [n, N, D]; "all", class and register tokens in
            front of them [n, P + N, D], of the output only.
        batch_size: images at a time.

    Raises:
        UserError: unknown pooling, a layer that does not exist, no images, or prefix pooling of
            an encoder without prefix tokens.
    """
    if images.dim() != 4 or not len(images):
        raise UserError(f"probing wants images [n, 3, H, W], at least one, got {list(images.shape)}")
    wanted = resolve_layers(layers, encoder.depth, pooling)
    with evaluating(encoder) as device:
        parts = [pooled(encoder, part.to(device), wanted, pooling) for part in images.split(batch_size)]
    levels = {layer: torch.cat([part.levels[layer] for part in parts]) for layer in wanted}
    return Features(levels, pooling, parts[0].grid, parts[0].prefix)


def raw_pixels(images: Tensor, side: int = 16) -> Tensor:
    """The baseline every encoder must beat: pixels, reduced to side x side by antialiased bilinear.

    Args:
        images: [n, 3, H, W] in [0, 1].
        side: 16 keeps the vector about as long as an encoder's.

    Returns:
        [n, 3 * side * side] float32.
    """
    if images.dim() != 4 or not len(images):
        raise UserError(f"raw pixels want images [n, 3, H, W], at least one, got {list(images.shape)}")
    small = [
        F.interpolate(part.float(), (side, side), mode="bilinear", antialias=True, align_corners=False)
        for part in images.split(256)
    ]
    return torch.cat(small).flatten(1).cpu()


def resolve_layers(layers: Sequence[int], depth: int, pooling: str) -> tuple[int, ...]:
    """Layers counted from 0 without repetition, `depth` the output; none at all means the output.

    Raises:
        UserError: unknown pooling, a layer that does not exist, or a pooling that exists for the output only.
    """
    if pooling not in POOLINGS:
        raise UserError(f"pooling {pooling!r} is unknown; choose from {', '.join(POOLINGS)}")
    for layer in layers:
        if not -depth <= layer <= depth:
            raise UserError(
                f"layer {layer} does not exist: blocks are 0 to {depth - 1}, {depth} is the output"
            )
    resolved = tuple(dict.fromkeys(layer + depth if layer < 0 else layer for layer in layers)) or (depth,)
    if pooling in _OUTPUT_ONLY and resolved != (depth,):
        raise UserError(f"{pooling} pooling exists for the output only; drop `layers` or pool by mean")
    return resolved


@contextmanager
def evaluating(encoder: Encoder) -> Iterator[torch.device]:
    """Put an encoder that has modes into evaluation mode for the block; gives where it lives."""
    if not isinstance(encoder, torch.nn.Module):
        yield torch.device("cpu")
        return
    training = encoder.training
    encoder.eval()
    try:
        yield next((parameter.device for parameter in encoder.parameters()), torch.device("cpu"))
    finally:
        encoder.train(training)


@torch.no_grad()
def pooled(encoder: Encoder, images: Tensor, wanted: tuple[int, ...], pooling: str) -> Features:
    """Features of one batch [B, 3, H, W] on the encoder's device; `wanted` of `resolve_layers`."""
    blocks = tuple(layer for layer in wanted if layer < encoder.depth)
    tokens = encoder(images, layers=blocks)
    found = dict(zip(blocks, tokens.levels, strict=True)) | {encoder.depth: tokens.patches}
    levels = {layer: _pool(found[layer], tokens, pooling).float().cpu() for layer in wanted}
    return Features(levels, pooling, tokens.grid, tokens.prefix.shape[1] if pooling == "all" else 0)


def _pool(patches: Tensor, tokens: Tokens, pooling: str) -> Tensor:
    if pooling == "mean":
        return patches.mean(1)
    if pooling == "tokens":
        return patches
    if pooling == "all":
        return torch.cat([tokens.prefix, patches], dim=1)
    if pooling == "prefix":
        if not tokens.prefix.shape[1]:
            raise UserError("this encoder has no prefix tokens; use pooling='mean' or 'grid'")
        return tokens.prefix[:, 0]
    rows, columns = tokens.grid
    if patches.shape[1] != rows * columns:
        raise UserError(f"grid pooling needs {rows} x {columns} patches, got {patches.shape[1]}; use 'mean'")
    plane = patches.transpose(1, 2).unflatten(2, (rows, columns))
    return F.adaptive_avg_pool2d(plane, _GRID).flatten(1)
