"""Replays of ROPIM: the count-sketch projection, the reconstruction, the loss in the complement, gradients."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from mimgen.decoders.mae import LinearDecoder
from mimgen.encoders.beit import BeitEncoder
from mimgen.methods.ropim import ROPIM, CountSketch, ProjectionMask
from mimgen.pretrained import load_strictly
from mimgen.targets import PixelTarget
from mimgen.types import Batch
from tests.parity.cases import Case, Replay
from tests.parity.helpers import official_gradients, plain


def rename(key: str) -> str:
    """Our name, within `ROPIM`, of an official tensor."""
    return key.replace("decoder.0.", "decoder.decoder.")


def replay_ropim(case: Case) -> dict[str, Tensor]:
    """One step with the recorded permutations and signs."""
    config, model, images = case.config, case.config["model"], case.inputs["images"]
    relative = "shared" if model["use_shared_rpb"] else "block" if model["use_rpb"] else "none"
    encoder = BeitEncoder(
        pixels=model["img_size"],
        patch=model["patch_size"],
        width=model["embed_dim"],
        depth=model["depth"],
        heads=model["num_heads"],
        mlp_ratio=model["mlp_ratio"],
        layer_scale=model["init_values"],
        absolute=model["use_ape"],
        relative=relative,
        **plain(),
    )
    decoder = LinearDecoder(encoder.dim, encoder.patch, encoder.patch)
    target = PixelTarget(encoder.patch, normalise=False, distance="absolute")
    sketch = CountSketch(config["ratio"], scale=config["ratio"], swapped=config["eye_sp_sketch"])
    objective = ROPIM(encoder, decoder, target, sketch, mixed=config["sp"]).train()
    load_strictly(objective, {rename(key): value for key, value in case.weights.items()}, "the case")
    projection = sketch.projection(case.inputs["permutations"], case.inputs["signs"])
    mask = ProjectionMask(torch.ones(projection.shape[:2], dtype=torch.bool), projection=projection)
    loss = objective(Batch(images), mask).total
    tokens = encoder(images, mix=projection if objective.mixed else None)
    return {
        # recorded before it is swapped for its complement
        "projection": replace(sketch, swapped=False).projection(case.inputs["permutations"], case.inputs["signs"]),
        "reconstruction": decoder.images(tokens),
        "loss": loss,
        **official_gradients(loss, objective, case, rename),
    }


REPLAYS: dict[str, Replay] = {"ropim": replay_ropim}
