"""Replays of block masks (BEiT v2, CAE, iBOT) from recorded streams of uniform numbers.

The official code takes two numbers for area and aspect of a rectangle, and two for its place only where it fits in the
grid; our strategies take four always. So the streams are cut into tries here, which the strategies then read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mimgen.masking.block import ROUNDS, Block, grown, rectangles, sides
from mimgen.methods.ibot import masking as ibot
from tests.parity.cases import Case, Replay
from tests.parity.recorded import RecordedUniform, padded_tries

TRIES = 10  # of a block before its row gives up
ASPECT = 0.3


@dataclass(frozen=True)
class Cut:
    """Streams that were cut into tries.

    Attributes:
        tries: of each row, [4] each.
        masked: [B, side, side], the cells inside their rectangles.
        used: [B] numbers that were read.
    """

    tries: list[list[Tensor]]
    masked: Tensor
    used: Tensor


def _cut(stream: Tensor, side: int, options: Mapping[str, Any]) -> Cut:
    """The tries of streams [B, n] that a strategy must see.

    Only iBOT's masks count tries in vain, so of the others these are left out.
    """
    count_failures = options["kind"] == "ibot"
    wanted = options["ratio"] * side * side if count_failures else float(options["num"])
    minimum = (side // 3) ** 2 if count_failures else options["min"]
    rows = torch.arange(len(stream))
    masked = torch.zeros(len(stream), side, side, dtype=torch.bool)
    used, failed = torch.zeros_like(rows), torch.zeros_like(rows)
    cut: list[list[Tensor]] = [[] for _ in stream]
    while True:
        missing = wanted - masked.sum((1, 2)).double()
        # CAE tries until the count is exact, so its rows may reach the end of their streams
        going = (missing > 0) & ((failed < TRIES) | (options["kind"] == "cae")) & (used < stream.shape[1])
        if not bool(going.any()):
            return Cut(cut, masked, used)
        # rows that are done continue reading their last numbers to no effect
        position = (used[:, None] + torch.arange(4)).clamp(max=stream.shape[1] - 1)
        tries, budget = stream[rows[:, None], position], missing.where(going, torch.zeros(()).double())
        # any positive number does for rows that are done
        area = missing.where(going, torch.ones(()).double())
        added = rectangles(tries, area, (side, side), minimum, ASPECT)
        placed = torch.stack(sides(tries, area, minimum, ASPECT)).amax(0) < side
        before, masked = masked, grown(masked, added, budget)
        success = (masked & ~before).any((1, 2))
        for row in rows[going & (success | count_failures)].tolist():
            cut[row].append(tries[row])
        failed = torch.where(success, 0, failed + 1).where(going, failed)
        used = used + torch.where(placed, 4, 2) * going


def _fixed_count(cut: Cut, side: int, options: Mapping[str, Any], keys: Tensor) -> Tensor:
    """[B, N] by `Block`; of the cells that its rectangles leave, in raster order, the smallest keys come first."""
    spread = torch.zeros(len(keys), side * side)
    for row, left, key in zip(spread, ~cut.masked.flatten(1), keys, strict=True):
        row[left] = key[: int(left.sum())]
    strategy = Block(options["num"], options["min"], ASPECT)
    return strategy((side, side), RecordedUniform(padded_tries(cut.tries, ROUNDS), spread)).masked


def _varied(cut: Cut, side: int, options: Mapping[str, Any]) -> Tensor:
    """[B, N] by iBOT's `VariedBlock`, here with one share and for every row."""
    strategy = ibot.VariedBlock((options["ratio"], options["ratio"]), 1.0, ASPECT)
    tries = padded_tries(cut.tries, ibot.ROUNDS * ibot.TRIES)
    return strategy((side, side), RecordedUniform(tries.new_zeros(len(tries), 2), tries)).masked


def replay_block_mask(case: Case) -> dict[str, Tensor]:
    """One mask and the length of stream it took for each kind of the case."""
    outputs: dict[str, Tensor] = {}
    stream, side = case.inputs["u"].double(), case.config["grid"]
    for name, options in case.config["masks"].items():
        cut = _cut(stream, side, options)
        varied = options["kind"] == "ibot"
        mask = _varied(cut, side, options) if varied else _fixed_count(cut, side, options, case.inputs["choice_key"])
        outputs |= {f"mask_{name}": mask.unflatten(1, (side, side)).long(), f"draws_used_{name}": cut.used}
    return outputs


REPLAYS: dict[str, Replay] = {"block_mask": replay_block_mask}
