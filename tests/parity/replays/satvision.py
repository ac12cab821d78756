"""Replay of SatVision-TOA: bands are scaled, squares of them masked, and Swin v2 predicts their values."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from mimgen.data.builtin.band_scaling import MODIS_TOA
from mimgen.decoders.mae import LinearDecoder
from mimgen.encoders.swin_v2 import SwinV2Encoder
from mimgen.masking.random import in_units
from mimgen.methods.mim import MIM
from mimgen.methods.satvision_toa.adapter import ADAPTER, swin_arguments
from mimgen.pretrained import load_strictly
from mimgen.targets import PixelTarget
from mimgen.types import Batch, Mask
from tests.parity.cases import Case, Replay
from tests.parity.helpers import feature_map, official_gradients


def recorded_mask(permutations: Tensor, ratio: float, grid: tuple[int, int], unit: int) -> Mask:
    """The mask whose hidden units come first in permutations [B, n]; `grid` of patches, `unit` of them a side."""
    units = torch.zeros(permutations.shape, dtype=torch.bool)
    count = math.ceil(permutations.shape[1] * ratio)
    units.scatter_(1, permutations[:, :count], True)
    return Mask(in_units(units, (grid[0] // unit, grid[1] // unit), unit))


def replay_satvision(case: Case) -> dict[str, Tensor]:
    """Scaled bands, mask, last tokens, reconstruction, loss and gradients of one step."""
    config = case.config
    bands = MODIS_TOA(case.inputs["images_toa"].permute(0, 3, 1, 2))
    encoder = SwinV2Encoder(**swin_arguments(config["encoder"], case.weights))
    channels, patch = bands.shape[1], encoder.patch_embed.patch
    decoder = LinearDecoder(encoder.dim, config.get("encoder_stride", 32), patch, channels)
    target = PixelTarget(
        patch, normalise=False, mean=(0.0,) * channels, std=(1.0,) * channels, distance="absolute"
    )
    grid = (bands.shape[2] // patch, bands.shape[3] // patch)
    unit = config.get("mask_patch_size", 8) // patch
    mask = recorded_mask(case.inputs["permutations"], config.get("mask_ratio", 0.6), grid, unit)
    objective = MIM(encoder, decoder, target, lambda grid, rng: mask).train()
    load_strictly(objective, ADAPTER.from_official(case.weights), "the case")
    tokens = encoder(bands, mask)
    loss = objective(Batch(bands), mask).total
    return {
        "scaled_images": bands,
        "mask": mask.masked.unflatten(1, grid).to(torch.uint8),
        "features": feature_map(tokens.patches, tokens.grid),
        "reconstruction": decoder.images(tokens),
        "loss": loss,
        **official_gradients(loss, objective, case, ADAPTER.our_key),
    }


REPLAYS: dict[str, Replay] = {"satvision": replay_satvision}
