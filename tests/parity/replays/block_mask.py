"""Replays of block masks (BEiT v2, CAE, iBOT) from recorded streams of uniform numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from mimgen.masking.block import grown, rectangles, sides
from tests.parity.cases import Case, Replay

TRIES = 10  # of a block before its row gives up
ASPECT = 0.3


def _from_stream(stream: Tensor, side: int, options: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
    """Masks [B, side, side] from numbers [B, n], and how many of these each row took [B].

    A try takes two numbers for area and aspect, and two for the place only where the rectangle fits in the grid; our
    own masks take four always, so the streams are read here and the rectangles made by the same functions.
    """
    ibot = options["kind"] == "ibot"
    wanted = options["ratio"] * side * side if ibot else float(options["num"])
    minimum = (side // 3) ** 2 if ibot else options["min"]
    rows = torch.arange(len(stream))
    masked = torch.zeros(len(stream), side, side, dtype=torch.bool)
    used, failed = torch.zeros_like(rows), torch.zeros_like(rows)
    while True:
        missing = wanted - masked.sum((1, 2)).double()
        # CAE tries until the count is exact, so its rows may reach the end of their streams
        going = (missing > 0) & ((failed < TRIES) | (options["kind"] == "cae")) & (used < stream.shape[1])
        if not bool(going.any()):
            return masked, used
        # rows that are done continue reading their last numbers to no effect
        position = (used[:, None] + torch.arange(4)).clamp(max=stream.shape[1] - 1)
        tries, budget = stream[rows[:, None], position], missing.where(going, torch.zeros(()).double())
        # any positive number does for rows that are done
        area = missing.where(going, torch.ones(()).double())
        added = rectangles(tries, area, (side, side), minimum, ASPECT)
        placed = torch.stack(sides(tries, area, minimum, ASPECT)).amax(0) < side
        before, masked = masked, grown(masked, added, budget)
        failed = torch.where((masked & ~before).any((1, 2)), 0, failed + 1).where(going, failed)
        used = used + torch.where(placed, 4, 2) * going


def _completed(masked: Tensor, wanted: int, keys: Tensor) -> Tensor:
    """BEiT v2: of the visible cells, in raster order, those with the smallest keys make the count exact."""
    filled = masked.flatten(1).clone()
    for row, key in zip(filled, keys, strict=True):
        visible = (~row).nonzero()[:, 0]
        chosen = key[: len(visible)].argsort(stable=True)[: max(0, wanted - int(row.sum()))]
        row[visible[chosen]] = True
    return filled.view_as(masked)


def replay_block_mask(case: Case) -> dict[str, Tensor]:
    """One mask and the length of stream it took for each kind of the case."""
    outputs: dict[str, Tensor] = {}
    stream = case.inputs["u"].double()
    for name, options in case.config["masks"].items():
        masked, used = _from_stream(stream, case.config["grid"], options)
        if options["kind"] == "beitv2":
            masked = _completed(masked, options["num"], case.inputs["choice_key"])
        outputs |= {f"mask_{name}": masked.long(), f"draws_used_{name}": used}
    return outputs


REPLAYS: dict[str, Replay] = {"block_mask": replay_block_mask}
