"""Replay of HAP: masks from recorded random numbers, two masked views, reconstruction and alignment.

The official code samples one number after another, so the streams are read here in its order; which patches a
part has, what a priority masks and all of the loss are the code that trains.
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
from mimgen.methods.hap.masking import by_priority, part_patches, visible_count
from mimgen.methods.hap.objective import HAP
from mimgen.methods.mae.adapter import ADAPTER
from mimgen.targets import PixelTarget
from tests.parity.cases import Case, Replay
from tests.parity.helpers import in_order, load_official, mae_decoder, official_gradients, vit_arguments

PARTS = 6
TRIES = 10  # of one block, before the rest of the mask is given up
_SHARE = 0.3
_FIRST = 100.0


@dataclass(frozen=True)
class Streams:
    """The recorded random numbers, in the order of the official calls.

    Where they run out, as for keypoints other than the recorded ones, zeros follow: the masks differ then, which
    the comparison predicts.
    """

    uniform: Iterator[float]
    integer: Iterator[int]
    shuffle: Iterator[int]

    def shuffled(self, values: list[int]) -> list[int]:
        """The values in the order of the next recorded shuffle."""
        return [values[next(self.shuffle, 0) % len(values)] for _ in values]


def block_priorities(
    grid: tuple[int, int], count: int, config: Mapping[str, Any], streams: Streams
) -> Tensor:
    """[N]: 2 in random rectangles, until `count` patches have it or none fits any more."""
    area, masked = torch.zeros(grid), 0
    while masked < count:
        added = _rectangle(area, count - masked, config, streams)
        if not added:
            break
        masked += added
    return area.flatten()


def _rectangle(area: Tensor, missing: int, config: Mapping[str, Any], streams: Streams) -> int:
    """Try to put one rectangle; returns the patches that it adds to `area`."""
    rows, columns = area.shape
    minimum, aspect = config.get("block_min_num_patches", 12), math.log(config.get("block_min_aspect", 0.3))
    for _ in range(TRIES):
        size = minimum + (missing - minimum) * next(streams.uniform, 0.0)
        ratio = math.exp(aspect - 2 * aspect * next(streams.uniform, 0.0))
        height, width = round(math.sqrt(size * ratio)), round(math.sqrt(size / ratio))
        if height >= rows or width >= columns:
            continue
        top, left = next(streams.integer, 0), next(streams.integer, 0)
        cut = area[top : top + height, left : left + width]
        # the sum, not the number: patches that have their 2 already count twice
        if 0 < height * width - int(cut.sum()) <= missing:
            added = int((cut == 0).sum())
            cut.fill_(2)
            if added:
                return added
    return 0


def part_priorities(priority: Tensor, guide: Tensor, bound: int, streams: Streams) -> Tensor:
    """Priorities [B, N] with those of parts [B, P, N] written over them.

    Each image's number of parts bounds that of the next, a slip of the official code that leaves nearly all of
    a large batch without parts; `masking.Parts` samples from the original bound.
    """
    order = list(range(guide.shape[1]))
    for row, parts in zip(priority, guide, strict=True):
        order = streams.shuffled(order)
        bound = next(streams.integer, 0)
        used = [part for part in order if parts[part].any()][:bound]
        for rank, part in enumerate(used):
            patches = streams.shuffled(parts[part].nonzero().flatten().tolist())
            chosen = patches[: math.floor(len(patches) * (_SHARE * next(streams.uniform, 0.0)))]
            row[chosen] = _FIRST - rank
    return priority


def recorded_priorities(
    case: Case, view: int, guide: Tensor, grid: tuple[int, int], streams: Streams
) -> Tensor:
    """Priorities [B, N] of one view; `streams` go on."""
    config = case.config
    ratio, kinds = config.get("mask_ratio", 0.5), config.get("mask_type", ["block", "parts"])
    priority = case.inputs[f"noise_view{view}"].clone()
    if "block" in kinds:
        masked = grid[0] * grid[1] - visible_count(grid[0] * grid[1], ratio)
        priority = torch.stack([block_priorities(grid, masked, config, streams) for _ in priority])
    if "parts" in kinds:
        priority = part_priorities(priority, guide, config.get("num_parts", PARTS), streams)
    return priority


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
    recorded = {
        name.removeprefix("draws_"): case.inputs[name].tolist() for name in case.inputs if "draws_" in name
    }
    streams = Streams(*(iter(recorded.get(name, ())) for name in ("uniform", "randint", "shuffle")))
    priorities = [recorded_priorities(case, view, guide, encoder.grid, streams) for view in (1, 2)]
    masks = [by_priority(priority, case.config.get("mask_ratio", 0.5)) for priority in priorities]
    losses = objective.losses(images, *masks)
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
