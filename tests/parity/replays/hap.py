"""Replay of HAP: masks from recorded random numbers, two masked views, reconstruction and alignment.

The official code samples one number after another. The streams are read here in its order, and become the numbers that
`Parts` asks for, which makes the masks.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mimgen.checkpoints.official import OfficialModel
from mimgen.encoders.vit import VitEncoder
from mimgen.masking.block import ROUNDS, rectangles, sides
from mimgen.methods.hap.masking import Parts, by_priority, part_patches, visible_count
from mimgen.methods.hap.objective import HAP
from mimgen.methods.mae.adapter import ADAPTER
from mimgen.targets import PixelTarget
from mimgen.types import Batch
from tests.parity.cases import Case, Replay
from tests.parity.helpers import (
    in_order,
    load_official,
    mae_decoder,
    official_gradients,
    vit_arguments,
    within,
)
from tests.parity.recorded import RecordedUniform, padded_tries

PARTS = 6
TRIES = 10  # of one block, before the rest of the mask is given up
ASPECT = 0.3


@dataclass(frozen=True)
class Streams:
    """The recorded random numbers, in the order of the official calls.

    Where they run out, as for keypoints other than the recorded ones, zeros follow: the masks differ then, which
    the comparison tells.
    """

    uniform: Iterator[float]
    integer: Iterator[int]
    shuffle: Iterator[int]

    @classmethod
    def of(cls, case: Case) -> Streams:
        """The streams of a case."""
        found = within(case.inputs, "draws_")
        return cls(*(iter(found[name].tolist() if name in found else ()) for name in ("uniform", "randint", "shuffle")))

    def shuffled(self, values: list[int]) -> list[int]:
        """The values in the order of the next recorded shuffle."""
        return [values[next(self.shuffle, 0) % len(values)] for _ in values]


def block_numbers(grid: tuple[int, int], count: int, config: Mapping[str, Any], streams: Streams) -> tuple[Tensor, ...]:
    """What `Parts` asks for the blocks of one image: noise [N], tries [ROUNDS, 4], keys [N] of cells to fill in.

    The official code may stop short of `count` or go beyond it with its last rectangle; then patches of equal priority
    are masked from the end of the raster. `Block` masks `count`: keys and noise make up the difference.
    """
    minimum = config.get("block_min_num_patches", 12)
    # `Parts` has one aspect; another one is reached by stretching the number that is its logarithm
    stretch = math.log(config.get("block_min_aspect", ASPECT)) / math.log(ASPECT)
    area, taken, failed = torch.zeros(grid, dtype=torch.bool), [], 0
    inside = area
    while failed < TRIES and (missing := count - int(area.sum())) > 0:
        failed += 1
        numbers = (next(streams.uniform, 0.0), 0.5 + stretch * (next(streams.uniform, 0.0) - 0.5), 0.0, 0.0)
        tries, budget = torch.tensor([numbers], dtype=torch.float64), torch.tensor([missing])
        cells = [int(side) for side in sides(tries, budget, minimum, ASPECT)]
        if cells[0] >= grid[0] or cells[1] >= grid[1]:
            continue
        for place, side in enumerate(grid):  # an integer in 0..side - cells becomes the middle of its share of 0..1
            tries[0, 2 + place] = (next(streams.integer, 0) + 0.5) / (side - cells[place] + 1)
        added = rectangles(tries, budget, grid, minimum, ASPECT)[0]
        # the official code counts patches twice that are masked already
        if 0 < int(added.sum()) - 2 * int((added & area).sum()) <= missing and bool((added & ~area).any()):
            area, failed = area | added, 0
            if int(area.sum()) <= count:
                inside = area
                taken.append(tries[0])
    raster = torch.arange(area.numel()) / area.numel()
    keys = 3 - raster - 2 * area.flatten()  # above 0, as `Block` expects
    filled = inside.flatten().clone()
    filled[keys.masked_fill(filled, math.inf).argsort()[: count - int(filled.sum())]] = True
    return raster + 2 * area.flatten() - 2 * filled, padded_tries([taken], ROUNDS)[0], keys


def part_numbers(guide: Tensor, bound: int, streams: Streams) -> tuple[Tensor, ...]:
    """What `Parts` asks for parts [B, P, N]: order [B, P], number [B, 1], shares [B, P], keys [B, P, N].

    Each image's number of parts bounds that of the next, a slip of the official code that leaves nearly all of a large
    batch without parts; `Parts` samples from the original bound, so the recorded number alone is taken over.
    """
    order = list(range(guide.shape[1]))
    orders, shares = torch.zeros(2, *guide.shape[:2], dtype=torch.float64)
    keys, numbers = torch.zeros(guide.shape), torch.zeros(len(guide), 1, dtype=torch.float64)
    for row, image in enumerate(guide):
        order = streams.shuffled(order)
        orders[row, order] = torch.arange(len(order)).double() / len(order)
        used = next(streams.integer, 0)
        numbers[row] = (used + 0.5) / (bound + 1)
        for part in [part for part in order if image[part].any()][:used]:
            chosen = streams.shuffled(image[part].nonzero().flatten().tolist())
            keys[row, part, chosen] = torch.arange(len(chosen)) / image.shape[1]
            shares[row, part] = next(streams.uniform, 0.0)
    return orders, numbers, shares, keys


def recorded_priorities(case: Case, view: int, guide: Tensor, grid: tuple[int, int], streams: Streams) -> Tensor:
    """Priorities [B, N] of one view by the strategy that trains; `streams` go on."""
    config, patches = case.config, grid[0] * grid[1]
    kinds = config.get("mask_type", ["block", "parts"])
    bound = config.get("num_parts", PARTS) if "parts" in kinds else 0
    strategy = Parts(
        config.get("mask_ratio", 0.5),
        bound,
        blocks="block" in kinds,
        minimum=config.get("block_min_num_patches", 12),
    )
    numbers = [case.inputs[f"noise_view{view}"]]
    if strategy.blocks:  # the official code drops the noise then
        count = patches - visible_count(patches, strategy.ratio)
        rows = [block_numbers(grid, count, config, streams) for _ in guide]
        numbers = [torch.stack(column) for column in zip(*rows, strict=True)]
    parts = guide if bound else torch.zeros_like(guide)
    numbers += part_numbers(parts, bound, streams if bound else Streams(iter(()), iter(()), iter(())))
    return strategy.priorities(grid, RecordedUniform(*numbers), parts)


def network(case: Case) -> tuple[HAP, OfficialModel]:
    """The objective of a case, its weights loaded strictly."""
    config = case.config
    channels = config.get("in_chans", 3)
    plain = {"mean": (0.0,) * channels, "std": (1.0,) * channels}
    given = {**vit_arguments(config), "channels": channels, **plain, "eps": config.get("norm_eps", 1e-6)}
    encoder = VitEncoder(**given)
    decoder = mae_decoder(config, given, output=channels * given["patch"] ** 2)
    model = OfficialModel(encoder, decoder)
    load_official(model, case.weights, ADAPTER.our_key)
    target = PixelTarget(
        given["patch"], normalise=bool(config.get("norm_pix_loss", False)), last=True, **plain
    )
    objective = HAP(
        encoder,
        decoder,
        target,
        alignment_weight=config.get("align_weight", 0.05),
        temperature=config.get("temperature", 0.2),
    )
    return objective.train(), model


def replay_hap(case: Case) -> dict[str, Tensor]:
    """Masks, tokens of both views, prediction, losses and gradients of one step."""
    objective, model = network(case)
    encoder, decoder = objective.encoder, objective.decoder
    images, keypoints = case.inputs["images"], case.inputs["keypoints"].clone()
    keypoints[..., 2] = (keypoints[..., 0] > -1000).float()
    guide = part_patches(keypoints, encoder.grid, encoder.patch)
    streams = Streams.of(case)
    priorities = [recorded_priorities(case, view, guide, encoder.grid, streams) for view in (1, 2)]
    masks = [by_priority(priority, case.config.get("mask_ratio", 0.5)) for priority in priorities]
    losses = objective(Batch(images), *masks)
    tokens = [encoder(images, mask) for mask in masks]
    outputs = {
        "loss": losses.total,
        "loss_reconstruct": losses.terms["reconstruction"],
        "loss_align": losses.terms.get("alignment", torch.zeros(())),
        "pred_view1": decoder(tokens[0], masks[0]),
        **official_gradients(losses.total, model, case, ADAPTER.our_key),
    }
    for view, (mask, seen, priority) in enumerate(zip(masks, tokens, priorities, strict=True), start=1):
        order = priority.argsort(dim=1, stable=True)
        outputs[f"mask_view{view}"] = mask.masked.float()
        outputs[f"ids_restore_view{view}"] = order.argsort(dim=1)
        outputs[f"latent_view{view}"] = in_order(seen.prefix, seen.patches, mask, order)
    return outputs


REPLAYS: dict[str, Replay] = {"hap": replay_hap}
