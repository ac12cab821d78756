"""Replays of LocalMIM."""

from __future__ import annotations

import re

import torch
from torch import Tensor

from mimgen.encoders.taps import tap
from mimgen.encoders.vit import VitEncoder
from mimgen.methods.localmim.adapter import ADAPTER
from mimgen.methods.localmim.decoders import SCALES, LocalDecoder, at_scale
from mimgen.methods.localmim.objective import LocalMIM
from mimgen.methods.localmim.target import SobelTarget
from mimgen.pretrained import load_strictly
from mimgen.types import Batch
from tests.parity.cases import Case, Replay
from tests.parity.helpers import in_order, mask_ratio, official_gradients, recorded_mask, vit_arguments

SHOWN = 64  # entries of the finest mask that are recorded


def objective_of(case: Case) -> LocalMIM:
    """The recorded network and its targets, with the recorded weights."""
    config, arguments = case.config, vit_arguments(case.config)
    encoder = VitEncoder(**arguments)
    # at some depths two of the four taps are one block: then the official code has fewer features than decoders
    taps = sorted({1, 3, encoder.depth - 3, encoder.depth - 1})
    bins, biased = config.get("hog_nbins", 9), bool(config.get("hog_bias", False))
    scales = SCALES[: len(taps)]
    decoders = [
        LocalDecoder(
            arguments["image_size"],
            encoder.patch,
            encoder.dim,
            config.get("decoder_embed_dim", 256),
            config.get("decoder_depth", 1),
            config.get("decoder_num_heads", 8),
            3 * bins,
            scale,
            mlp_ratio=arguments["mlp_ratio"],
            eps=arguments["eps"],
        )
        for scale in scales
    ]
    targets = [SobelTarget(round(encoder.patch / scale), bins=bins, offset=biased) for scale in scales]
    objective = LocalMIM(encoder, decoders, targets, taps)
    named = {_our_key(key): value for key, value in case.weights.items()}
    # the official network has no norm after the last block
    named |= {key: value for key, value in objective.state_dict().items() if key.startswith("encoder.norm.")}
    left_out = tuple(
        f"{part}.{number}." for part in ("decoders", "targets") for number in range(len(taps), len(SCALES))
    )
    fitting = {key: value for key, value in named.items() if key is not None and not key.startswith(left_out)}
    load_strictly(objective, fitting, "the case")
    return objective.train()


def _our_key(key: str) -> str | None:
    """Our name within the objective, of which the learnt offsets of the targets are a part, too."""
    offset = re.fullmatch(r"hog_enc\.(\d+)\.conv\.bias", key)
    return f"targets.{offset[1]}.offset" if offset else ADAPTER.our_key(key)


def replay_localmim(case: Case) -> dict[str, Tensor]:
    """Features of the taps, predictions and targets of all scales, masks, loss and gradients of one step."""
    images, objective = case.inputs["imgs"], objective_of(case)
    encoder = objective.encoder
    mask, order = recorded_mask(case.inputs["noise"], mask_ratio(case))
    levels = tap(encoder, images, mask, objective.taps)
    loss = objective(Batch(images), mask).total
    outputs = {
        "mask": mask.masked.float(),
        "loss": loss,
        **official_gradients(loss, objective, case, _our_key),
    }
    for number, (tokens, decoder, target) in enumerate(
        zip(levels, objective.decoders, objective.targets, strict=True)
    ):
        assert isinstance(decoder, LocalDecoder)
        prefix, patches = decoder.tap_norm(tokens.prefix), decoder.tap_norm(tokens.patches)
        outputs |= {
            f"latent_{number}": in_order(prefix, patches, mask, order),
            f"pred_{number}": decoder(tokens, mask),
            f"hog_{number}": target(images),
            f"mask_scale_{number}": at_scale(mask.masked, tokens.grid, decoder.scale),
        }
    outputs["mask_scale_0"] = outputs["mask_scale_0"][:, :SHOWN]
    return {name: value.detach() for name, value in outputs.items() if torch.is_tensor(value)}


REPLAYS: dict[str, Replay] = {"localmim": replay_localmim}
